package places_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

func TestCacheFrom(t *testing.T) {
	t.Parallel()
	root := digest.FromString("root")
	for _, test := range []struct {
		ref, tag string
		root     digest.Digest
		want     string
	}{
		{"./cache", "latest", root, "type=local,src=./cache"},
		{"oci:./cache", "v1", root, "type=local,src=./cache,tag=v1"},
		{"oci:./cache", "v1", "", "type=local,src=./cache,tag=v1"},
		{"./cache", "", root, "type=local,src=./cache,digest=" + root.String()},
		{"./cache", "", "", ""},
		{"docker://example.com/cache", "latest", root, "type=registry,ref=example.com/cache:latest"},
		{"docker://example.com/cache", "", root, "type=registry,ref=example.com/cache@" + root.String()},
		{"docker://example.com/cache", "", "", ""},
		{"oci-archive:cache.tar", "latest", root, ""},
		// docker buildx and buildctl read a line of CSV, and cut spaces off its values.
		{"./a,b", "latest", root, `type=local,"src=./a,b"`},
		{`./"a"`, "x,y", root, `type=local,"src=./""a""","tag=x,y"`},
		{"./a\nb", "latest", root, "type=local,\"src=./a\nb\""},
		{" a ", "latest", root, "type=local,src=./ a /"},
		{"./a", " v1", root, "type=local,src=./a,digest=" + root.String()},
	} {
		ref, err := layout.ParseReference(test.ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := places.CacheFrom(ref, test.tag, test.root); got != test.want {
			t.Errorf("%s, tag %q: %q, want %q", test.ref, test.tag, got, test.want)
		}
	}
}
