package registry_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
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
	cache, err := layout.OneCache(ctx, src, "latest")
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
	fmt.Println(entries[0].Tag, "is the same:", entries[0].Descriptor.Digest == cache.Descriptor.Digest)
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

// Credentials come from the program, host by host. Plain HTTP has to be allowed.
func ExampleOptions_credentials() {
	open := fake.New(fake.Logger(log.New(new(strings.Builder), "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "builder" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="example"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		open.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")

	plainHTTP := false
	repository, err := registry.Open(host+"/team/cache", registry.Options{
		TLSVerify: &plainHTTP,
		Credentials: func(_ context.Context, asked string) (user, password string, err error) {
			if asked != host {
				return "", "", nil // the usual files are asked
			}
			return "builder", "secret", nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = repository.Close() }()
	entries, err := repository.Entries(context.Background())
	fmt.Println(len(entries), "tags,", err)
	// Output: 0 tags, <nil>
}
