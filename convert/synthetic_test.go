package convert_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// synthetic is a cache that a test makes up: layers, each the child of the one before, and a record for each.
type synthetic struct {
	tb   testing.TB
	path string
	root *buildcache.Root
	conf *buildcache.Config
}

func newSynthetic(tb testing.TB, form buildcache.Form) *synthetic {
	tb.Helper()
	s := &synthetic{tb: tb, path: filepath.Join(tb.TempDir(), "synthetic")}
	if _, err := layout.Create(tb.Context(), s.path, layout.Options{}); err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.path, "blobs", "sha256"), 0o755); err != nil {
		tb.Fatal(err)
	}
	s.root, s.conf = &buildcache.Root{Form: form}, &buildcache.Config{}
	return s
}

// blob stores bytes.
func (s *synthetic) blob(raw []byte) (digest.Digest, int64) {
	s.tb.Helper()
	d := digest.FromBytes(raw)
	if err := os.WriteFile(blobPath(s.path, d), raw, 0o644); err != nil {
		s.tb.Fatal(err)
	}
	return d, int64(len(raw))
}

// layer adds a layer and a record that has it as its result.
func (s *synthetic) layer(d digest.Digest, size int64, c buildcache.Compression, diffID digest.Digest) {
	i := len(s.conf.Layers)
	s.root.Layers = append(s.root.Layers, buildcache.Descriptor{
		MediaType: buildcache.LayerMediaType(s.root.Form, c), Digest: d, Size: size,
		Annotations: map[string]string{
			buildcache.AnnotationDiffID: diffID.String(), buildcache.AnnotationCreatedAt: "2026-01-02T03:04:05Z",
		},
	})
	s.conf.Layers = append(s.conf.Layers, buildcache.Layer{Blob: d, Parent: i - 1})
	record := buildcache.Record{Digest: digest.FromString(fmt.Sprint("record ", i)), Results: []buildcache.Result{{Layer: i}}}
	if i > 0 {
		record.Inputs = [][]buildcache.Input{{{Link: i - 1}}}
	}
	s.conf.Records = append(s.conf.Records, record)
}

// tag stores config and root and tags them latest.
func (s *synthetic) tag() *layout.Dir {
	s.tb.Helper()
	config, err := json.Marshal(s.conf)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.root.Config.MediaType = buildcache.MediaTypeConfig
	s.root.Config.Digest, s.root.Config.Size = s.blob(config)
	raw, err := json.Marshal(s.root)
	if err != nil {
		s.tb.Fatal(err)
	}
	d, size := s.blob(raw)
	dir := open(s.tb, s.path)
	entry := buildcache.Descriptor{MediaType: s.root.Form.MediaType(), Digest: d, Size: size}
	if err := dir.Tag(s.tb.Context(), "latest", entry, ""); err != nil {
		s.tb.Fatal(err)
	}
	return dir
}

// sparse returns a layout with a list of n layers that are holes of the given size, so that reading any takes long, and
// finds it to be wrong.
func sparse(tb testing.TB, n int, size int64) *layout.Dir {
	tb.Helper()
	return sparseOf(tb, buildcache.DockerList, n, size)
}

func sparseOf(tb testing.TB, form buildcache.Form, n int, size int64) *layout.Dir {
	tb.Helper()
	s := newSynthetic(tb, form)
	for i := range n {
		d := digest.FromString(fmt.Sprint("layer ", i))
		path := blobPath(s.path, d)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			tb.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			tb.Fatal(err)
		}
		s.layer(d, size, buildcache.Gzip, digest.FromString(fmt.Sprint("tar ", i)))
	}
	return s.tag()
}

// tarOf returns a tar of about the given size whose content compresses to about half.
func tarOf(tb testing.TB, seed uint64, size int) []byte {
	tb.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; buf.Len() < size; i++ {
		data := make([]byte, min(256<<10, size))
		for j := range data {
			data[j] = byte('a' + random.IntN(16))
		}
		header := &tar.Header{Name: fmt.Sprintf("dir/file-%d", i), Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(1e9, 0)}
		if err := errors.Join(w.WriteHeader(header), errorOf(w.Write(data))); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func errorOf(_ int, err error) error { return err }

func gzipBytes(tb testing.TB, raw []byte) []byte {
	tb.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if err := errors.Join(errorOf(w.Write(raw)), w.Close()); err != nil {
		tb.Fatal(err)
	}
	return packed.Bytes()
}

// gzipped returns a layout with n gzip layers of about the given size before encoding.
func gzipped(tb testing.TB, n, size int) *layout.Dir {
	tb.Helper()
	s := newSynthetic(tb, buildcache.Artifact)
	for i := range n {
		tar := tarOf(tb, uint64(i), size)
		d, packedSize := s.blob(gzipBytes(tb, tar))
		s.layer(d, packedSize, buildcache.Gzip, digest.FromBytes(tar))
	}
	return s.tag()
}
