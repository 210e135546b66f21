package main

import (
	"context"
	"io"
	"sync/atomic"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// countingSource counts what is read of a place, by several at once.
type countingSource struct {
	layout.Source
	opened atomic.Int64
}

func (s *countingSource) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	s.opened.Add(1)
	return s.Source.Open(ctx, blob)
}

// TestInspectedRoots has a root with two tags, which is looked into once.
func TestInspectedRoots(t *testing.T) {
	t.Parallel()
	dir, err := layout.Open("../../testdata/caches/artifact-gzip", layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := layout.Caches(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	src := &countingSource{Source: dir}
	roots := inspectedRoots{namer: &namer{}, found: map[rootKey]inspectedRoot{}}
	first := roots.of(t.Context(), src, entries[0])
	opened, other := src.opened.Load(), entries[0]
	if first.err != nil || opened == 0 {
		t.Fatalf("read %d blobs: %v", opened, first.err)
	}
	other.Tag = "other"
	second := roots.of(t.Context(), src, other)
	if second.err != nil || src.opened.Load() != opened {
		t.Errorf("read %d blobs again: %v", src.opened.Load()-opened, second.err)
	}
	if first.detailed.Tag != entries[0].Tag || second.detailed.Tag != "other" || second.detailed.Digest != first.detailed.Digest {
		t.Errorf("the tags %q and %q, the roots %s and %s", first.detailed.Tag, second.detailed.Tag, first.detailed.Digest, second.detailed.Digest)
	}
	other.Descriptor.Size++
	if third := roots.of(t.Context(), src, other); third.err == nil {
		t.Error("a root with another size was taken for the same")
	}
}
