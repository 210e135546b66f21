package inspect_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
)

// Summarize says what is in a cache, Verify what is wrong with it.
func Example() {
	ctx := context.Background()
	dir, err := layout.Open("../testdata/caches/gzip-with-estargz-leak", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	entry, err := layout.One(ctx, dir, "latest")
	if err != nil {
		log.Fatal(err)
	}
	s, err := inspect.Summarize(ctx, dir, entry)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Form, s.Totals.Layers, "layers", s.Totals.ByCompression)
	problems, err := inspect.Verify(ctx, dir, entry, inspect.Options{Deep: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(problems), "problems")
	// Output:
	// artifact 17 layers map[estargz:10038 gzip:85447]
	// 0 problems
}
