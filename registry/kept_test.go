package registry_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// zstdOf returns a cache, the same recompressed, and the largest layer and the config of that.
func zstdOf(t *testing.T) (from, recompressed *layout.Dir, layer, config buildcache.Descriptor) {
	t.Helper()
	from, recompressed = made(t, buildcache.Uncompressed, tarball(t, 1, large)), layouttest.Create(t)
	if _, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), recompressed, "latest", toZstd()); err != nil {
		t.Fatal(err)
	}
	cache, err := layout.Load(t.Context(), recompressed, layouttest.Entry(t, recompressed, "latest"))
	if err != nil {
		t.Fatal(err)
	}
	return from, recompressed, cache.Root.Layers[0], cache.Root.Config
}

func toZstd() convert.Options { return convert.Options{Compression: buildcache.Zstd} }

// TestKeepsStored sends blobs to a registry that has a damaged file of one of them, in some repository, and says that it takes them.
func TestKeepsStored(t *testing.T) {
	t.Parallel()
	from, recompressed, layer, config := zstdOf(t)
	for _, test := range []struct {
		name string
		to   string // the repository; the first one is cache
		from *layout.Dir
		o    convert.SyncOptions
		// damaged is which blob the registry has damaged.
		damaged  buildcache.Descriptor
		believed bool // nobody looks
	}{
		{name: "recompressed", to: cacheRepository, from: from, o: convert.SyncOptions{Options: toZstd()}, damaged: layer},
		{name: "recompressed for another repository", to: "other", from: from, o: convert.SyncOptions{Options: toZstd()}, damaged: layer},
		{name: "copied", to: cacheRepository, from: recompressed, damaged: layer},
		{name: "copied to another repository", to: "other", from: recompressed, damaged: layer, believed: true},
		{name: "checked", to: "other", from: recompressed, o: convert.SyncOptions{Look: true}, damaged: layer},
		{name: "read", to: "other", from: recompressed, o: convert.SyncOptions{Deep: true}, damaged: layer},
		{name: "config", to: "other", from: recompressed, damaged: config},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			mustTransfer(t, recompressed, open(t, server, plain()))
			server.Truncate(t, test.damaged.Digest, 7)
			dst := repository(t, server, test.to, plain())
			test.o.Tag = "again"
			result, err := convert.Sync(t.Context(), test.from, dst, test.o)
			if err != nil {
				t.Fatal(err)
			}
			wantKept(t, dst, result.Err(), test.believed)
		})
	}
}

// wantKept wants an error about a damaged blob, and no tag; or none of it.
func wantKept(t *testing.T, dst *registry.Repository, err error, believed bool) {
	t.Helper()
	var held *layout.HeldError
	var back *convert.ReadBackError
	switch found := errors.As(err, &held) || errors.As(err, &back); {
	case believed && err != nil:
		t.Errorf("got %v", err)
	case !believed && (!found || !errors.Is(err, layout.ErrBlobDamaged)):
		t.Errorf("got %v, want damage that the registry keeps", err)
	}
	if entry, err := dst.Resolve(t.Context(), "again"); err != nil || (entry == nil) == believed {
		t.Errorf("the tag names %v: %v", entry, err)
	}
}

// TestKeptForAll wants every cache of a sync to fail that has the damaged layer, not only the one that it was sent for.
func TestKeptForAll(t *testing.T) {
	t.Parallel()
	_, cache, layer, _ := zstdOf(t)
	server := registrytest.New(t, registrytest.Options{})
	mustTransfer(t, cache, open(t, server, plain()))
	server.Truncate(t, layer.Digest, 7)
	entry := layouttest.Entry(t, cache, "latest")
	second := entry
	second.Tag = "second"
	dst := repository(t, server, "other", plain())
	result, err := convert.Sync(t.Context(), cache, dst, convert.SyncOptions{Look: true, Entries: []layout.Entry{entry, second}})
	if err != nil || result.Failed != 2 {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestDeepReadsSent has bytes that were sent come back as other ones, of the same number.
func TestDeepReadsSent(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	server := registrytest.New(t, registrytest.Options{})
	server.Inject(registrytest.Fault{Method: http.MethodGet, Path: layer.Digest.String(), Flip: true, Times: -1})
	dst := open(t, server, plain())
	result, err := convert.Sync(t.Context(), from, dst, convert.SyncOptions{Deep: true, Tag: "again"})
	if err != nil {
		t.Fatal(err)
	}
	server.AssertFired(t)
	wantKept(t, dst, result.Err(), false)
}

// TestNoLength has a registry that does not say how large a blob is where it is asked whether it has it.
func TestNoLength(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	server := registrytest.New(t, registrytest.Options{})
	o := plain()
	o.Hosts = &registry.Hosts{}
	mustTransfer(t, from, open(t, server, o))
	server.Inject(registrytest.Fault{Method: http.MethodHead, Path: "/blobs/", NoLength: true, Times: -1})
	for _, size := range []int64{layer.Size, layer.Size - 1} {
		has, err := repository(t, server, cacheRepository, o).Has(t.Context(), buildcache.Descriptor{Digest: layer.Digest, Size: size})
		if err != nil || has != (size == layer.Size) {
			t.Errorf("%d bytes: %v, %v", size, has, err)
		}
	}
	server.Truncate(t, layer.Digest, 7)
	dst := repository(t, server, "other", o) // which gets it mounted
	_, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), dst, "again", convert.Options{})
	server.AssertFired(t)
	wantKept(t, dst, err, false)
	if server.Count(http.MethodGet, layer.Digest.String()) == 0 {
		t.Error("nobody asked for the size")
	}
}

// TestRepairKeptConfig says of a damaged config why a base that has it does not help.
func TestRepairKeptConfig(t *testing.T) {
	t.Parallel()
	_, cache, _, config := zstdOf(t)
	server := registrytest.New(t, registrytest.Options{})
	mustTransfer(t, cache, open(t, server, plain()))
	server.Truncate(t, config.Digest, 7)
	for name, base := range map[string][]layout.Source{"a base has": {cache}, "no base has": nil} {
		for _, write := range []bool{true, false} {
			r := open(t, server, plain())
			result, err := convert.RepairCache(t.Context(), r, layouttest.Entry(t, r, "latest"), convert.RepairOptions{Base: base, Write: write})
			if err != nil || len(result.Left) != 1 || !strings.HasPrefix(result.Left[0].Detail, name) || result.Written {
				t.Errorf("%s, write %v: %v, %+v", name, write, err, result)
			}
		}
	}
}
