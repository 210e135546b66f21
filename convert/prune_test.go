package convert_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// TestPrune keeps a cache that BuildKit imports in full, reads no layer, and changes nothing when it is run again.
func TestPrune(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"artifact-gzip", "docker-list-zstd", "oci-index-gzip", "merge-small2-fresh", "v0.11.6-docker-list"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := watch(open(t, layouttest.CopyCorpus(t, name)))
			old := load(t, dir, "")
			o := convert.PruneOptions{Rules: buildcache.PruneRules{Leaves: true}}
			dry := o
			dry.DryRun = true
			before := layouttest.Tree(t, dir.String())
			would, err := convert.Prune(t.Context(), dir, layouttest.Entry(t, dir, ""), dry)
			if err != nil || would.Unchanged {
				t.Fatalf("%+v (%v)", would, err)
			}
			layouttest.WantTree(t, dir.String(), before)
			clear(dir.opened)
			done, err := convert.Prune(t.Context(), dir, layouttest.Entry(t, dir, ""), o)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "root", done.To.Digest, would.To.Digest)
			wantEqual(t, "form", done.To.Form, old.Root.Form)
			now := load(t, dir, "")
			if done.Kept.Results >= done.Before.Results || len(now.Config.Layers) != done.Kept.Layers || done.Unnamed <= 0 {
				t.Errorf("%+v", done)
			}
			for layer := range old.Root.LayersByDigest() {
				wantEqual(t, "opened", dir.opened[layer], 0)
			}
			wantClean(t, dir, done.Tag)
			again, err := convert.Prune(t.Context(), dir, layouttest.Entry(t, dir, ""), o)
			if err != nil || !again.Unchanged || again.To.Digest != done.To.Digest {
				t.Errorf("%+v (%v)", again, err)
			}
		})
	}
}

// TestPruneMoved prunes what the tag names by the time it would move.
func TestPruneMoved(t *testing.T) {
	t.Parallel()
	a, b := openCorpus(t, "artifact-gzip"), openCorpus(t, "merge-small2-fresh")
	dst := &racing{Place: layout.NewMemory("memory"), times: 1}
	syncAll(t, a, dst.Place, convert.SyncOptions{})
	dst.move = func(ctx context.Context, _ int) error {
		_, err := convert.Convert(ctx, b, layouttest.Entry(t, b, ""), dst.Place, "latest", convert.Options{})
		return err
	}
	o := convert.PruneOptions{Rules: buildcache.PruneRules{Leaves: true}}
	done, err := convert.Prune(t.Context(), dst, layouttest.Entry(t, dst, "latest"), o)
	if err != nil || done.From.Digest != layouttest.Entry(t, b, "").Descriptor.Digest {
		t.Errorf("%+v (%v)", done, err)
	}
	wantClean(t, dst, "latest")
	syncAll(t, a, dst.Place, convert.SyncOptions{})
	dst.times = 100
	dst.move = func(ctx context.Context, n int) error {
		src := []layout.Source{a, b}[n%2]
		_, err := convert.Convert(ctx, src, layouttest.Entry(t, src, ""), dst.Place, "latest", convert.Options{})
		return err
	}
	var moved *layout.TagMovedError
	if _, err := convert.Prune(t.Context(), dst, layouttest.Entry(t, dst, "latest"), o); !errors.As(err, &moved) || dst.times == 0 {
		t.Errorf("it ended with %v", err)
	}
}
