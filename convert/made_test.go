package convert_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// sending is a place that remembers nothing of what layers became, as a registry.
type sending struct {
	*layout.Memory
	sent atomic.Int64
}

func (s *sending) Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	s.sent.Add(1)
	return s.Memory.Ingest(ctx, write)
}

// TestSentOnce says that a layer which the destination has is not sent again, whatever the level.
func TestSentOnce(t *testing.T) {
	t.Parallel()
	src := open(t, layouttest.CopyCorpus(t, "artifact-gzip"))
	for name, o := range map[string]convert.Options{
		"a level":            {Compression: buildcache.Zstd, Level: 7},
		"the default, named": {Compression: buildcache.Zstd, Level: 3},
		"by force":           {Compression: buildcache.Gzip, Level: 1, Force: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dst := &sending{Memory: layout.NewMemory("far")}
			first := run(t, src, dst, o)
			want := dst.sent.Load()
			again, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), dst, "other", o)
			if err != nil {
				t.Fatal(err)
			}
			if wantEqual(t, "root", again.To, first.To); dst.sent.Load() != want || want == 0 || again.Moved != 0 {
				t.Errorf("%d layers were sent, then %d and %d bytes", want, dst.sent.Load()-want, again.Moved)
			}
			wantClean(t, dst, "other")
			o.Level = 2 // other bytes have to be sent
			other, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), dst, "another", o)
			if err != nil {
				t.Fatal(err)
			}
			if other.Moved == 0 || other.To.Digest == first.To.Digest {
				t.Errorf("at another level: %+v", other)
			}
			wantClean(t, dst, "another")
		})
	}
}

// TestMadeOnce says that caches of one sync that share a layer have it made once.
func TestMadeOnce(t *testing.T) {
	t.Parallel()
	src := open(t, layouttest.CopyCorpus(t, "artifact-gzip"))
	root := layouttest.Entry(t, src, "latest").Descriptor
	for _, tag := range []string{"a", "b", "c"} {
		if err := src.Tag(t.Context(), tag, root, ""); err != nil {
			t.Fatal(err)
		}
	}
	for name, o := range map[string]convert.Options{
		"to estargz": {Compression: buildcache.Estargz}, "a level": {Compression: buildcache.Zstd, Level: 7},
	} {
		dst := &sending{Memory: layout.NewMemory("far")}
		var made atomic.Int64
		o.OnEvent = func(e layout.Event) {
			if e.Kind == layout.EventDone && e.Verb == string(convert.Recompress) {
				made.Add(1)
			}
		}
		result := syncAll(t, src, dst, convert.SyncOptions{Options: o})
		if len(result.Caches) != 4 || dst.sent.Load() != 14 || made.Load() != 14 {
			t.Errorf("%s: %d caches, %d layers made, %d sent", name, len(result.Caches), made.Load(), dst.sent.Load())
		}
		wantClean(t, dst, "c")
	}
}
