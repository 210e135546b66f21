package placetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// contextTests are about contexts that are done.
var contextTests = []test{
	{"read with a done context", false, testDoneRead},
	{"write with a done context", true, testDoneWrite},
	{"context that is done meanwhile", true, testDoneMeanwhile},
}

// promptly is how long a method with nothing to do may take, however busy the machine is.
const promptly = 10 * time.Second

var errInterrupted = errors.New("interrupted")

// wantDone calls a method with contexts that are done, without and with a cause, and wants the method to return that cause.
func wantDone(t *testing.T, what string, method func(ctx context.Context) error) {
	t.Helper()
	for _, cause := range []error{context.Canceled, errInterrupted} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		start := time.Now()
		if err := method(ctx); !errors.Is(err, cause) {
			t.Errorf("%s: got %v, want %v", what, err, cause)
		}
		if took := time.Since(start); took > promptly {
			t.Errorf("%s took %s", what, took)
		}
	}
}

func testDoneRead(t *testing.T, s Subject) {
	contents, _ := some()
	place := s.holding(t, contents)
	for _, d := range []buildcache.Descriptor{contents.Trees[0].Root(), contents.Trees[0][0].Descriptor} {
		wantDone(t, "Has "+d.MediaType, func(ctx context.Context) error {
			_, err := place.Has(ctx, d)
			return err
		})
		wantDone(t, "Open "+d.MediaType, func(ctx context.Context) error {
			r, err := place.Open(ctx, d)
			if err == nil {
				err = r.Close()
			}
			return err
		})
		random, ok := place.(layout.RandomAccess)
		if !ok {
			continue
		}
		wantDone(t, "OpenAt "+d.MediaType, func(ctx context.Context) error {
			section, err := random.OpenAt(ctx, d)
			if err == nil {
				err = section.Close()
			}
			return err
		})
	}
	wantDone(t, "Entries", func(ctx context.Context) error {
		_, err := place.Entries(ctx)
		return err
	})
	wantDone(t, "Find", func(ctx context.Context) error {
		_, err := layout.Find(ctx, place, "latest")
		return err
	})
}

func testDoneWrite(t *testing.T, s Subject) {
	place := s.New(t)
	tree, blob := small("a"), NewBlob(buildcache.MediaTypeConfig, []byte("some bytes"))
	if err := tree.Put(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	wantDone(t, "Put", func(ctx context.Context) error {
		return place.Put(ctx, blob.Descriptor, layout.OpenBytes(blob.Data))
	})
	wantDone(t, "Ingest", func(ctx context.Context) error {
		_, err := place.Ingest(ctx, func(w io.Writer) error { _, err := w.Write(blob.Data); return err })
		return err
	})
	wantDone(t, "Tag", func(ctx context.Context) error {
		return place.Tag(ctx, "latest", tree.Root(), "")
	})
	wantNotStored(t, place, blob.Descriptor, blob.Data)
	wantEntries(t, place)
}

// testDoneMeanwhile ends the context in the middle of a long stream of bytes.
func testDoneMeanwhile(t *testing.T, s Subject) {
	place := s.New(t)
	blob := NewBlob(buildcache.MediaTypeConfig, bytes.Repeat([]byte("x"), 1<<20))
	ctx, cancel := context.WithCancelCause(t.Context())
	endless := &endlessReader{after: len(blob.Data) / 2, then: func() { cancel(errInterrupted) }}
	err := place.Put(ctx, blob.Descriptor, func() (io.ReadCloser, error) { return io.NopCloser(endless), nil })
	if !errors.Is(err, errInterrupted) {
		t.Errorf("Put: %v", err)
	}
	wantNotStored(t, place, blob.Descriptor, blob.Data)

	ctx, cancel = context.WithCancelCause(t.Context())
	_, err = place.Ingest(ctx, func(w io.Writer) error {
		_, err := w.Write(blob.Data[:100])
		cancel(errInterrupted)
		return err
	})
	if !errors.Is(err, errInterrupted) {
		t.Errorf("Ingest: %v", err)
	}
	wantNotStored(t, place, NewBlob(buildcache.MediaTypeConfig, blob.Data[:100]).Descriptor, nil)
}

// endlessReader reads the letter x, and does something after a number of bytes. It fails whoever reads far beyond that instead
// of stopping.
type endlessReader struct {
	after int
	then  func()
}

func (r *endlessReader) Read(p []byte) (int, error) {
	if r.after -= len(p); r.after <= 0 {
		r.then()
	}
	if r.after < -16<<20 {
		return 0, errBroken
	}
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
