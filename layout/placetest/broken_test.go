package placetest_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/layout/placetest"
)

// broken is a shelf with something wrong.
type broken struct {
	*shelf
	entries func([]layout.Entry) []layout.Entry
	has     func(right bool, data []byte, ok bool) bool
	open    func(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error)
	put     func(s *shelf, ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error
	tag     func(s *shelf, ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error
	ingest  func(s *shelf, ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error)
}

func (b *broken) Entries(ctx context.Context) ([]layout.Entry, error) {
	entries, err := b.shelf.Entries(ctx)
	if b.entries != nil {
		entries = b.entries(entries)
	}
	return entries, err
}

func (b *broken) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	right, err := b.shelf.Has(ctx, blob)
	if b.has != nil {
		data, ok := b.get(blob.Digest)
		right = b.has(right, data, ok)
	}
	return right, err
}

func (b *broken) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if b.open != nil {
		return b.open(ctx, blob)
	}
	return b.shelf.Open(ctx, blob)
}

func (b *broken) Put(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
	if b.put != nil {
		return b.put(b.shelf, ctx, blob, open)
	}
	return b.shelf.Put(ctx, blob, open)
}

func (b *broken) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if b.tag != nil {
		return b.tag(b.shelf, ctx, tag, root, was)
	}
	return b.shelf.Tag(ctx, tag, root, was)
}

func (b *broken) Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	if b.ingest != nil {
		return b.ingest(b.shelf, ctx, write)
	}
	return b.shelf.Ingest(ctx, write)
}

// withPower has a power that the table says it lacks.
type withPower struct{ *shelf }

func (withPower) Resolve(context.Context, string) (*layout.Entry, error) { return nil, nil }

// breaks are places that break the contract, by the test that has to see it. Several may.
var breaks = map[string]func() layout.Place{
	"powers": func() layout.Place { return withPower{newShelf()} },
	"entries": func() layout.Place {
		return &broken{shelf: newShelf(), entries: func(e []layout.Entry) []layout.Entry { return e[:min(len(e), 4)] }}
	},
	"untagged_entries": func() layout.Place { // it holds what it is said to lack
		return &broken{shelf: newShelf(), tag: func(s *shelf, ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
			if tag == "" {
				s.entries = append(s.entries, layout.Entry{Descriptor: root})
				return nil
			}
			return s.Tag(ctx, tag, root, was)
		}}
	},
	"has": func() layout.Place { // whatever its size
		return &broken{shelf: newShelf(), has: func(_ bool, _ []byte, ok bool) bool { return ok }}
	},
	"open": func() layout.Place {
		return &broken{shelf: newShelf(), open: func(context.Context, buildcache.Descriptor) (io.ReadCloser, error) {
			return nil, os.ErrNotExist
		}}
	},
	"put_what_is_there": func() layout.Place {
		return &broken{shelf: newShelf(), put: func(s *shelf, ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
			if _, err := open(); err != nil {
				return err
			}
			return s.Put(ctx, blob, open)
		}}
	},
	"put_other_bytes": func() layout.Place {
		return &broken{shelf: newShelf(), put: func(s *shelf, _ context.Context, _ buildcache.Descriptor, open layout.OpenFunc) error {
			raw, err := open()
			if err != nil {
				return err
			}
			data, err := io.ReadAll(raw)
			s.keep(data)
			return err
		}}
	},
	"put_from_a_broken_source": func() layout.Place { // what came so far is kept
		return &broken{shelf: newShelf(), put: func(s *shelf, ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
			return s.Put(ctx, blob, func() (io.ReadCloser, error) {
				raw, err := open()
				if err != nil {
					return nil, err
				}
				data, err := io.ReadAll(raw)
				s.keep(data)
				if err != nil {
					return nil, err
				}
				return layout.OpenBytes(data)()
			})
		}}
	},
	"ingest_from_a_broken_source": func() layout.Place {
		return &broken{shelf: newShelf(), ingest: func(s *shelf, ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
			var failed error
			blob, err := s.Ingest(ctx, func(w io.Writer) error { failed = write(w); return nil })
			if err == nil {
				err = failed
			}
			return blob, err
		}}
	},
	"tag_that_moved": func() layout.Place { // it does not look
		return &broken{shelf: newShelf(), tag: func(s *shelf, ctx context.Context, tag string, root buildcache.Descriptor, _ digest.Digest) error {
			was := digest.Digest("")
			if at := slices.IndexFunc(s.entries, func(e layout.Entry) bool { return e.Tag == tag }); at >= 0 {
				was = s.entries[at].Descriptor.Digest
			}
			return s.Tag(ctx, tag, root, was)
		}}
	},
	"two_writers_of_one_tag": func() layout.Place { // it looks, but somebody may come in between
		return &broken{shelf: newShelf(), tag: func(s *shelf, ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
			if err := s.Tag(ctx, tag, root, was); was == "" || err == nil {
				return err
			}
			return nil
		}}
	},
	"write_with_a_done_context": func() layout.Place {
		return &broken{shelf: newShelf(), put: func(s *shelf, ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
			return s.Put(context.WithoutCancel(ctx), blob, open)
		}}
	},
}

// breakVariable makes TestBroken run the suite for places that it has to refuse.
const breakVariable = "OCICACHE_TEST_BROKEN_PLACES"

// TestBroken wants the suite to see what is wrong with places: it runs itself, and looks at which tests fail.
func TestBroken(t *testing.T) {
	if os.Getenv(breakVariable) != "" {
		for name, place := range breaks {
			t.Run(name, func(t *testing.T) { placetest.Run(t, shelves(place)) })
		}
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBroken$")
	cmd.Env = append(os.Environ(), breakVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("the suite sees nothing")
	}
	for name := range breaks {
		if want := "--- FAIL: TestBroken/" + name + "/" + name + " "; !strings.Contains(string(out), want) {
			t.Errorf("no %q in what it says:\n%s", want, out)
		}
	}
}
