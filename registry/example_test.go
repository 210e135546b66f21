package registry_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	fake "github.com/google/go-containerregistry/pkg/registry"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// A cache goes to a registry as it is, and is found there by its tag.
func Example() {
	server := httptest.NewServer(fake.New(fake.Logger(log.New(new(strings.Builder), "", 0))))
	defer server.Close()
	plainHTTP := false
	repository, err := registry.Open(strings.TrimPrefix(server.URL, "http://")+"/team/cache", registry.Options{TLSVerify: &plainHTTP})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = repository.Close() }()

	ctx := context.Background()
	src, err := layout.Open("../testdata/caches/artifact-gzip", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := layout.One(ctx, src, "latest")
	if err != nil {
		log.Fatal(err)
	}
	result, err := convert.Convert(ctx, src, cache, repository, "main", convert.Options{})
	if err != nil {
		log.Fatal(err)
	}
	entries, err := repository.Entries(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(entries[0].Tag, "is the same:", entries[0].Root.Digest == cache.Root.Digest)
	fmt.Println(result.To.Form, "with", len(result.Layers), "layers")
	// Output:
	// main is the same: true
	// artifact with 14 layers
}

// What a registry takes is known before anything is sent there.
func ExampleProfileForHost() {
	profile, ok := registry.ProfileForHost("quay.io")
	fmt.Println(profile.Name, ok)
	// Output: quay-3.12 true
}
