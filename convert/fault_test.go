package convert_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

var errFault = errors.New("injected fault")

// faults fails the n-th durable operation, or all from there on.
type faults struct {
	n      int
	onward bool

	mu    sync.Mutex
	count int
	what  string // the first operation that failed
}

func (f *faults) fail(op durable.Op, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.count != f.n && (!f.onward || f.count < f.n) {
		return nil
	}
	if f.what == "" {
		f.what = fmt.Sprint(op, " ", path)
	}
	return errFault
}

// TestFaults fails every durable operation of a conversion, one after the other. Whatever fails, the old cache is whole
// and the tag names it, and the command run again does what it should have done.
func TestFaults(t *testing.T) {
	t.Parallel()
	pristine := newSynthetic(t, buildcache.Artifact)
	for i, c := range []buildcache.Compression{buildcache.Uncompressed, buildcache.Gzip} {
		raw := tarOf(t, uint64(i), 4<<10)
		packed := gzipBytes(t, raw)
		if c == buildcache.Uncompressed {
			packed = raw
		}
		d, size := pristine.blob(packed)
		pristine.layer(d, size, c, digest.FromBytes(raw))
	}
	old := layouttest.Entry(t, pristine.tag(), "latest").Descriptor.Digest
	o := convert.Options{Form: buildcache.DockerList, Compression: buildcache.Gzip, Jobs: 1}
	want := run(t, open(t, pristine.path), layouttest.Create(t), o).To.Digest

	for _, tt := range []struct {
		name            string
		inPlace, onward bool
	}{
		{"in place, once", true, false},
		{"in place, from then on", true, true},
		{"to another layout, once", false, false},
		{"to another layout, from then on", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			first, step := 1, quicktest.Rounds(2, 1)
			if tt.onward {
				first = step // what does not fail once fails with all that follows
			}
			for n := first; ; n += step {
				f := &faults{n: n, onward: tt.onward}
				if done := tryFault(t, pristine.path, f, o, tt.inPlace, old, want); done {
					if n < 15 {
						t.Errorf("there were only %d operations to fail", n-1)
					}
					return
				}
			}
		})
	}
}

// tryFault converts with a fault, and without. It reports whether the fault came too late to matter.
func tryFault(t *testing.T, pristine string, f *faults, o convert.Options, inPlace bool, old, want digest.Digest) bool {
	t.Helper()
	path := copyTree(t, pristine)
	before := layouttest.Tree(t, path)
	src, target := open(t, path), path
	if !inPlace {
		target = layouttest.Create(t).String()
	}
	failing, err := layout.Open(target, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	from, at := layout.Source(src), layouttest.Entry(t, src, "latest")
	if inPlace {
		from = failing
	}
	result, err := convert.Convert(durable.WithFault(t.Context(), f.fail), from, at, failing, "latest", o)
	if f.what == "" {
		if err != nil {
			t.Fatal(err)
		}
		return true
	}
	what := fmt.Sprintf("operation %d, %s", f.n, f.what)
	if err == nil && strings.HasPrefix(f.what, string(durable.OpOpen)) { // what is only looked at for reuse may be unreadable
		wantEqual(t, what+": root", layouttest.Entry(t, open(t, target), "latest").Descriptor.Digest, want)
		return false
	}
	forgotten := strings.HasSuffix(f.what, "journal") && !f.onward // which costs time, and is said
	if forgotten && (err != nil || !slices.ContainsFunc(result.Notes, func(n string) bool { return strings.Contains(n, errFault.Error()) })) {
		t.Errorf("%s: it ended with %v and %v", what, result, err)
	}
	if !forgotten && !errors.Is(err, errFault) {
		t.Errorf("%s: it ended with %v", what, err)
	}
	dst := open(t, target)
	wantIntact(t, target)
	wantNoTemporary(t, target)
	entries, err := dst.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	moved := forgotten || f.what == fmt.Sprint(durable.OpSyncDir, " ", target) // the tag has moved, it may just not last
	switch {
	case moved:
		wantEqual(t, what+": root", layouttest.Entry(t, dst, "latest").Descriptor.Digest, want)
	case inPlace:
		wantEqual(t, what+": root", layouttest.Entry(t, dst, "latest").Descriptor.Digest, old)
		wantKept(t, path, before)
	default:
		wantEqual(t, what+": entries", len(entries), 0)
		layouttest.WantTree(t, path, before)
	}
	wantClean(t, src, "latest")

	if inPlace {
		src = dst
	}
	result, err = convert.Convert(t.Context(), src, at, dst, "latest", o)
	var tag *layout.TagMovedError
	if moved && errors.As(err, &tag) {
		return false // in place the entry that was asked for is there no more
	}
	if err != nil {
		t.Fatalf("%s: run again: %v", what, err)
	}
	wantEqual(t, what+": root in the end", result.To.Digest, want)
	wantClean(t, dst, "latest")
	wantNoTemporary(t, target)
	return false
}

// TestFaultsOfCreate fails every durable operation that makes a layout.
func TestFaultsOfCreate(t *testing.T) {
	t.Parallel()
	src := openCorpus(t, "artifact-gzip")
	for n := 1; ; n++ {
		path := filepath.Join(t.TempDir(), "new", "layout")
		f := &faults{n: n}
		_, err := layout.Create(durable.WithFault(t.Context(), f.fail), path, layout.Options{})
		if f.what == "" {
			if err != nil || n < 8 {
				t.Errorf("after %d operations: %v", n-1, err)
			}
			return
		}
		if !errors.Is(err, errFault) {
			t.Errorf("operation %d, %s: it ended with %v", n, f.what, err)
		}
		dst, err := layout.Create(t.Context(), path, layout.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n%4 == 0 {
			run(t, src, dst, convert.Options{Form: buildcache.DockerList})
			wantFile(t, filepath.Join(path, "index.json"), filepath.Join(corpus, "docker-list-gzip", "index.json"))
		}
	}
}
