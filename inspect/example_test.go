package inspect_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// Summarize says what is in a cache, Verify what is wrong with it.
func Example() {
	ctx := context.Background()
	dir, err := layout.Open("../testdata/caches/gzip-with-estargz-leak", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	entry, err := layout.OneCache(ctx, dir, "latest")
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

// The profile of a registry adds what that registry would refuse.
func ExampleVerify_registry() {
	ctx := context.Background()
	dir, err := layout.Open("../testdata/caches/docker-list-gzip", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	entry, err := layout.OneCache(ctx, dir, "latest")
	if err != nil {
		log.Fatal(err)
	}
	profile, ok := registry.ProfileForHost("quay.io")
	if !ok {
		log.Fatal("nothing is known of this registry")
	}
	problems, err := inspect.Verify(ctx, dir, entry, inspect.Options{
		Checks: []func(*layout.Cache) []buildcache.Problem{profile.Check},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range problems {
		fmt.Printf("%s: %s: %s\n", p.Severity, p.Kind, p.Remedy)
	}
	// Output: error: registry-form: convert it with --to artifact
}
