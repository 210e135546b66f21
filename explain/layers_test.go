package explain_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/layout"
)

// meeting is a place of which a blob can be read only when so many were opened at the same time once.
type meeting struct {
	layout.Source
	want int
	met  chan struct{}

	mu        sync.Mutex
	opened    map[digest.Digest]int
	now, most int
}

func newMeeting(src layout.Source, want int) *meeting {
	return &meeting{Source: src, want: want, met: make(chan struct{}), opened: map[digest.Digest]int{}}
}

func (m *meeting) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	m.enter(blob.Digest)
	select {
	case <-m.met:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	raw, err := m.Source.Open(ctx, blob)
	return &leaving{raw, m}, err
}

func (m *meeting) enter(blob digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened[blob]++
	m.now++
	m.most = max(m.most, m.now)
	if m.now == m.want {
		m.want = 0 // once
		close(m.met)
	}
}

type leaving struct {
	io.ReadCloser
	m *meeting
}

func (l *leaving) Close() error {
	l.m.mu.Lock()
	l.m.now--
	l.m.mu.Unlock()
	return l.ReadCloser.Close()
}

// TestLayersSideBySide reads as many layers at once as there are jobs, and each of them once: those of several stages to name contents,
// and those of one chain to find a file that has changed.
func TestLayersSideBySide(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		jobs, reads int
		why         bool
	}{"one": {1, 8, false}, "two": {2, 8, false}, "six": {6, 8, false}, "why": {2, 4, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := explaintest.Unpack(t, "builds/why", "why-variants/07-file-content")
			ctx, stop := context.WithTimeout(t.Context(), time.Minute) // where they never meet
			defer stop()
			c := openCache(t, filepath.Join(dir, "builds/why/cache"))
			m := newMeeting(c.place, test.jobs)
			o := explain.Options{
				Contexts: explain.Contexts{"context": filepath.Join(dir, "builds/why/context")},
				Layers:   explain.NewLayers(m, c.Cache, explain.LayersOptions{Jobs: test.jobs, OnEvent: checkPlanned(t)}),
			}
			var err error
			if test.why {
				if err := os.WriteFile(filepath.Join(dir, "builds/why/context/src/a.txt"), []byte("changed\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				changed := filepath.Join(dir, "why-variants/07-file-content/provenance.json")
				_, err = explain.Decide(ctx, c.Cache, buildsOf(t, changed)[0], explain.WhyOptions{Options: o})
			} else {
				_, err = explain.NameRecords(ctx, c.Cache, buildsOf(t, filepath.Join(dir, "builds/why/provenance.json")), o)
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(m.opened) != test.reads || m.most != test.jobs {
				t.Errorf("%d layers were read, up to %d at once; want %d, and %d", len(m.opened), m.most, test.reads, test.jobs)
			}
			for blob, n := range m.opened {
				if n != 1 {
					t.Errorf("%s was read %d times", blob, n)
				}
			}
		})
	}
}

// checkPlanned fails a test where something begins that was not announced, or is larger.
func checkPlanned(t *testing.T) layout.Handler {
	t.Helper()
	var mu sync.Mutex
	count, bytes := 0, int64(0)
	return func(e layout.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch e.Kind { //nolint:exhaustive // the others announce nothing
		case layout.EventPlan:
			count, bytes = count+e.Count, bytes+e.Total
		case layout.EventStart:
			count, bytes = count-1, bytes-e.Total
			if count < 0 || bytes < 0 {
				t.Errorf("%s was not announced", e.Digest)
			}
		}
	}
}
