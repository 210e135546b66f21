package inspect_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
)

// reads counts how often blobs are opened. It is a place that does not lie near.
type reads struct {
	layout.Source

	opened atomic.Int32
}

func (r *reads) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	r.opened.Add(1)
	return r.Source.Open(ctx, blob)
}

// TestListAll says what belongs to each cache alone, and reads a root with many tags once.
func TestListAll(t *testing.T) {
	t.Parallel()
	dir := newPatient(t, "multi-tag").open()
	const all, v1, v2 = 131396, 34343, 13884 // by the sizes of the files
	list := func(src layout.Source, entries []layout.Entry) inspect.Listing {
		t.Helper()
		listing, err := inspect.ListAll(t.Context(), src, entries)
		if err != nil {
			t.Fatal(err)
		}
		if listing.Bytes != all {
			t.Errorf("%d bytes, want %d", listing.Bytes, all)
		}
		return listing
	}
	entries, err := dir.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l := list(dir, entries).Entries; *l[0].Own != v1 || *l[1].Own != v2 {
		t.Errorf("own: %d and %d, want %d and %d", *l[0].Own, *l[1].Own, v1, v2)
	}

	for _, tag := range []string{"a", "b", "c"} {
		again := entries[1]
		again.Tag = tag
		entries = append(entries, again)
	}
	src := &reads{Source: dir}
	for i, l := range list(src, entries).Entries {
		if want := []int64{v1, 0, 0, 0, 0}[i]; *l.Own != want || l.Tag != entries[i].Tag || l.Entry.Tag != l.Tag {
			t.Errorf("%s: %+v, want own %d", entries[i].Tag, l, want)
		}
	}
	if n := src.opened.Load(); n != 6 { // two roots to look at and to load, and two configs
		t.Errorf("%d blobs read", n)
	}
}
