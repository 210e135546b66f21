package places_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// Whatever a reference names, directory, archive or repository, is opened in one way and read in one way.
func Example() {
	ctx := context.Background()
	for _, text := range []string{"oci:../testdata/caches/multi-tag:v2", "../testdata/caches/multi-tag"} {
		ref, err := layout.ParseReference(text)
		if err != nil {
			log.Fatal(err)
		}
		opened, err := places.Open(ctx, ref, places.Options{})
		if err != nil {
			log.Fatal(err)
		}
		caches, err := opened.Caches(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for _, cache := range caches {
			fmt.Println(text, "means", cache.Tag, "with", cache.Layers, "layers")
		}
		if err := opened.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// oci:../testdata/caches/multi-tag:v2 means v2 with 10 layers
	// ../testdata/caches/multi-tag means v1 with 16 layers
	// ../testdata/caches/multi-tag means v2 with 10 layers
}
