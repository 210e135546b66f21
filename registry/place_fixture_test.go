package registry_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// cacheRepository is where tests keep their caches.
const cacheRepository = "team/cache"

// plain are options for a registry without TLS that wait for nothing.
func plain() registry.Options {
	verify := false
	return registry.Options{TLSVerify: &verify, Delay: time.Millisecond}
}

// silence is how long a registry may say nothing in tests of those that do: longer than a busy machine takes for an answer, and
// where the race detector may watch, it takes longer.
func silence() time.Duration {
	return time.Duration(quicktest.Rounds(1, 3)) * time.Second
}

// open returns the tests' repository in a registry.
func open(tb testing.TB, server *registrytest.Server, o registry.Options) *registry.Repository {
	tb.Helper()
	r, err := registry.Open(server.Host+"/"+cacheRepository, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// transfer copies the cache latest, unchanged.
func transfer(tb testing.TB, src layout.Source, dst layout.Place) (*convert.Result, error) {
	tb.Helper()
	return convert.Convert(tb.Context(), src, layouttest.Entry(tb, src, "latest"), dst, "latest", convert.Options{Jobs: 4})
}

// mustTransfer wants it to succeed.
func mustTransfer(tb testing.TB, src layout.Source, dst layout.Place) *convert.Result {
	tb.Helper()
	result, err := transfer(tb, src, dst)
	if err != nil {
		tb.Fatal(err)
	}
	return result
}

// blobs returns the bytes of a cache by digest, read from the files of a layout.
func blobs(tb testing.TB, dir *layout.Dir, root buildcache.Descriptor) map[digest.Digest]string {
	tb.Helper()
	files := map[digest.Digest]string{}
	add := func(d digest.Digest) []byte {
		raw, err := os.ReadFile(filepath.Join(dir.String(), "blobs", "sha256", d.Encoded()))
		if err != nil {
			tb.Fatal(err)
		}
		files[d] = string(raw)
		return raw
	}
	manifest, err := buildcache.ParseRoot(add(root.Digest))
	if err != nil {
		tb.Fatal(err)
	}
	add(manifest.Config.Digest)
	for d := range manifest.LayersByDigest() {
		add(d)
	}
	return files
}

// wantBack pulls the cache latest into a new layout and compares every byte with the one that it came from.
func wantBack(tb testing.TB, server *registrytest.Server, from *layout.Dir, o registry.Options) {
	tb.Helper()
	want := blobs(tb, from, layouttest.Entry(tb, from, "latest").Descriptor)
	back := layouttest.Create(tb)
	mustTransfer(tb, open(tb, server, o), back)
	wantBlobs(tb, back, want)
}

// wantBlobs compares the cache latest of a layout with what it should be, and wants nothing else in the layout.
func wantBlobs(tb testing.TB, back *layout.Dir, want map[digest.Digest]string) {
	tb.Helper()
	got := blobs(tb, back, layouttest.Entry(tb, back, "latest").Descriptor)
	for d, raw := range want {
		if got[d] != raw {
			tb.Errorf("%s came back as %d other bytes", d, len(got[d]))
		}
	}
	names, err := os.ReadDir(filepath.Join(back.String(), "blobs", "sha256"))
	if err != nil {
		tb.Fatal(err)
	}
	if len(names) != len(want) {
		tb.Errorf("%d blobs came back, want %d", len(names), len(want))
	}
}

// latestOf returns what a tag names, asked afresh.
func latestOf(tb testing.TB, server *registrytest.Server) digest.Digest {
	tb.Helper()
	found, err := open(tb, server, plain()).Resolve(tb.Context(), "latest")
	if err != nil {
		tb.Fatal(err)
	}
	if found == nil {
		return ""
	}
	return found.Descriptor.Digest
}

// made is a layout with a cache that a test makes up.
func made(tb testing.TB, c buildcache.Compression, layers ...[]byte) *layout.Dir {
	tb.Helper()
	dir := layouttest.Create(tb)
	root := assemble(tb, func(mediaType string, raw []byte) buildcache.Descriptor {
		d := buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		if err := dir.Put(tb.Context(), d, layout.OpenBytes(raw)); err != nil {
			tb.Fatal(err)
		}
		return d
	}, buildcache.Artifact, c, layers...)
	if err := dir.Tag(tb.Context(), "latest", root, ""); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// assemble puts the blobs of a cache somewhere, and returns its root. Each layer is the child of the one before.
func assemble(
	tb testing.TB, put func(mediaType string, raw []byte) buildcache.Descriptor, form buildcache.Form, c buildcache.Compression, layers ...[]byte,
) buildcache.Descriptor {
	tb.Helper()
	root, config := &buildcache.Root{Form: form}, &buildcache.Config{}
	for i, raw := range layers {
		layer := put(buildcache.LayerMediaType(form, c), raw)
		diffID := layer.Digest
		if c != buildcache.Uncompressed { // nobody unpacks it
			diffID = digest.FromString(fmt.Sprint("tar ", i))
		}
		layer.Annotations = map[string]string{
			buildcache.AnnotationDiffID: diffID.String(), buildcache.AnnotationCreatedAt: "2026-01-02T03:04:05Z",
		}
		root.Layers = append(root.Layers, layer)
		config.Layers = append(config.Layers, buildcache.Layer{Blob: layer.Digest, Parent: i - 1})
		record := buildcache.Record{Digest: digest.FromString(fmt.Sprint("record ", i)), Results: []buildcache.Result{{Layer: i}}}
		if i > 0 {
			record.Inputs = [][]buildcache.Input{{{Link: i - 1}}}
		}
		config.Records = append(config.Records, record)
	}
	root.Config = put(buildcache.MediaTypeConfig, toJSON(tb, config))
	return put(form.MediaType(), toJSON(tb, root))
}

func toJSON(tb testing.TB, value any) []byte {
	tb.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// noise returns bytes that are the same each time and do not compress.
func noise(seed uint64, size int) []byte {
	random := rand.New(rand.NewPCG(seed, 7))
	raw := make([]byte, size)
	for i := range raw {
		raw[i] = byte(random.Uint32())
	}
	return raw
}

// tarball returns a tar with one file of about the given size.
func tarball(tb testing.TB, seed uint64, size int) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(size), ModTime: time.Unix(1e9, 0)})
	_, writeErr := w.Write(noise(seed, size))
	if err := errors.Join(err, writeErr, w.Close()); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// many returns a small cache with that many layers.
func many(tb testing.TB, layers int) *layout.Dir {
	tb.Helper()
	raw := make([][]byte, layers)
	for i := range raw {
		raw[i] = noise(uint64(i), 100+i)
	}
	return made(tb, buildcache.Gzip, raw...)
}

// blobOf describes bytes as a layer.
func blobOf(raw string) buildcache.Descriptor {
	return buildcache.Descriptor{
		MediaType: buildcache.LayerMediaType(buildcache.Artifact, buildcache.Gzip), Digest: digest.FromString(raw), Size: int64(len(raw)),
	}
}

// requests counts what a registry was asked, by method and by what for: "PUT manifests", "HEAD blobs", "POST uploads".
func requests(server *registrytest.Server) map[string]int {
	count := map[string]int{}
	for _, r := range server.Requests() {
		what := "ping"
		for _, kind := range []string{"manifests", "tags", "blobs", "uploads"} {
			if strings.Contains(r.Path, "/"+kind+"/") {
				what = kind
			}
		}
		count[r.Method+" "+what]++
	}
	return count
}

// wantRequests compares the counts that are named.
func wantRequests(tb testing.TB, server *registrytest.Server, want map[string]int) {
	tb.Helper()
	got := requests(server)
	for what, n := range want {
		if got[what] != n {
			tb.Errorf("%s: %d requests, want %d; all: %v", what, got[what], n, got)
		}
	}
}

// store pushes a blob or a manifest by hand.
func store(tb testing.TB, server *registrytest.Server, method, path, mediaType string, raw []byte) {
	tb.Helper()
	request, err := http.NewRequestWithContext(tb.Context(), method, server.URL+path, bytes.NewReader(raw))
	if err != nil {
		tb.Fatal(err)
	}
	request.Header.Set("Content-Type", mediaType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		tb.Fatal(err)
	}
	_ = response.Body.Close() // nobody reads it
	if response.StatusCode/100 != 2 {
		tb.Fatalf("%s %s: %s", method, path, response.Status)
	}
}
