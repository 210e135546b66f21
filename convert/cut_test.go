package convert_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// datesOf returns when the results of a cache were made, the oldest first.
func datesOf(cache *layout.Cache) (dates []time.Time) {
	for _, record := range cache.Config.Records {
		for _, result := range record.Results {
			dates = append(dates, result.CreatedAt.Time)
		}
	}
	slices.SortFunc(dates, time.Time.Compare)
	return slices.Compact(dates)
}

// TestSyncPruned leaves at the destination what Prune leaves of a copy, for all rules and changes, reads no layer that goes, and leaves
// the source as it is. What is there already stays there.
func TestSyncPruned(t *testing.T) {
	t.Parallel()
	path := several(t, "artifact-gzip", "oci-index-zstd")
	before := layouttest.Tree(t, path)
	dates := datesOf(load(t, open(t, path), "artifact-gzip"))
	for name, rules := range map[string]buildcache.PruneRules{
		"bytes": {MaxBytes: 88_000}, "records": {MaxRecords: 25}, "leaves": {Leaves: true}, "age": {Before: dates[len(dates)-1]}, "all": {Leaves: true, MaxBytes: 88_000, Fit: true},
	} {
		changes := []convert.Options{{}, {Form: buildcache.DockerList}, {Form: buildcache.OCIIndex, Compression: buildcache.Zstd}}
		at := len(name) % len(changes)
		changes = append(changes[at:], changes[:at]...)
		for _, change := range changes[:quicktest.Rounds(1, len(changes))] {
			t.Run(name+" "+string(change.Compression)+" "+string(change.Form), func(t *testing.T) {
				t.Parallel()
				src, dst := watch(open(t, path)), layouttest.Create(t)
				change.Prune = rules
				o := convert.SyncOptions{Options: change}
				dry := o
				dry.DryRun = true
				would := syncAll(t, src, dst, dry)
				wantEqual(t, "tags after a dry run", len(tagsOf(t, dst)), 0)
				clear(src.opened)
				done := syncAll(t, src, dst, o)
				kept := map[digest.Digest]bool{}
				for i, c := range done.Caches {
					if c.Err != nil || c.Pruned == nil || c.Pruned.Kept.Results == 0 {
						t.Fatalf("%+v", c)
					}
					// Larger than it was, as every layer is that is made anew.
					if c.Pruned.Exceeds > 0 && (o.Compression == "" || c.Pruned.Exceeds <= rules.MaxBytes) {
						t.Errorf("%+v", c.Pruned)
					}
					c.Pruned.Exceeds = 0
					wantEqual(t, "foretold", would.Caches[i].Pruned, c.Pruned)
					wantLeft(t, path, dst, c, rules, kept)
				}
				for blob, stays := range kept {
					if !stays && src.opened[blob] > 0 {
						t.Errorf("the layer %s was read, and is gone", blob)
					}
				}
				written := layouttest.Tree(t, dst.String())
				again := syncAll(t, src, dst, o)
				wantEqual(t, "again", summary(again), map[string]string{"artifact-gzip": "skipped", "oci-index-zstd": "skipped"})
				layouttest.WantTree(t, dst.String(), written)
				layouttest.WantTree(t, path, before)
			})
		}
	}
}

// wantLeft compares what a sync left of a cache with what Prune leaves of it, and says in kept which of the source's layers that is.
func wantLeft(t *testing.T, src string, dst layout.Place, c convert.SyncEntry, rules buildcache.PruneRules, kept map[digest.Digest]bool) {
	t.Helper()
	whole := load(t, open(t, src), c.From)
	for blob := range whole.Root.LayersByDigest() {
		if !kept[blob] {
			kept[blob] = false
		}
	}
	copied := open(t, copyTree(t, src))
	pruned, err := convert.Prune(t.Context(), copied, layouttest.Entry(t, copied, c.From), convert.PruneOptions{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "pruning", *c.Pruned, pruned.Pruning)
	now, want := load(t, dst, c.To), load(t, copied, c.From)
	wantEqual(t, "records", now.Config.Records, want.Config.Records)
	wantEqual(t, "layers", len(now.Config.Layers), len(want.Config.Layers))
	wantClean(t, dst, c.To)
	for blob := range want.Root.LayersByDigest() {
		kept[blob] = true
	}
}

// TestSyncPrunedLater brings over what a rule about age leaves, and later less of it: the tag moves, and no layer is sent.
func TestSyncPrunedLater(t *testing.T) {
	t.Parallel()
	src := openCorpus(t, "artifact-gzip")
	dates := datesOf(load(t, src, "latest"))
	if len(dates) < 3 {
		t.Fatalf("the cache has results of %v", dates)
	}
	dst := layout.NewMemory("memory")
	at := func(before time.Time) convert.SyncEntry {
		o := convert.SyncOptions{}
		o.Prune.Before = before
		return syncAll(t, src, dst, o).Caches[0]
	}
	first, again, later := at(dates[1]), at(dates[1]), at(dates[2])
	if first.Err != nil || !again.Skipped || again.Pruned != nil || again.ToDigest != first.ToDigest {
		t.Errorf("%+v, and then %+v", first, again)
	}
	if later.Err != nil || later.Skipped || later.Moved != 0 || later.Was != first.ToDigest || later.Pruned.Kept.Results >= first.Pruned.Kept.Results {
		t.Errorf("%+v", later)
	}
	wantClean(t, dst, "latest")
	last := at(dates[len(dates)-1].Add(time.Second))
	var emptied *convert.EmptiedError
	if !errors.As(last.Err, &emptied) || emptied.Rule != buildcache.PruneBefore {
		t.Errorf("it ended with %v", last.Err)
	}
	wantEqual(t, "the tag after nothing was left", tagsOf(t, dst)["latest"], later.ToDigest)
}

// TestPruneOnTheWay fits what is too large, in any compression, and never prunes the source.
func TestPruneOnTheWay(t *testing.T) {
	t.Parallel()
	src := large(t, 0, 9000)
	for _, o := range []convert.Options{{}, {Form: buildcache.DockerList, Compression: buildcache.Estargz}} {
		o.Prune.Fit = true
		dst := layouttest.Create(t)
		done := syncAll(t, src, dst, convert.SyncOptions{Options: o}).Caches[0]
		if done.Err != nil || done.Pruned.Before.Results != 9000 || done.Pruned.Kept.Results < 4000 {
			t.Fatalf("%v: %+v", done.Err, done.Pruned)
		}
		wantEqual(t, "results", len(datesResults(load(t, dst, "latest"))), done.Pruned.Kept.Results)
		wantClean(t, dst, "latest")
	}
	dir := open(t, layouttest.CopyCorpus(t, "artifact-gzip"))
	before := layouttest.Tree(t, dir.String())
	o := convert.Options{Prune: buildcache.PruneRules{Leaves: true}}
	if done, err := convert.Convert(t.Context(), dir, layouttest.Entry(t, dir, "latest"), dir, "latest", o); err == nil {
		t.Errorf("it pruned in place: %+v", done)
	}
	layouttest.WantTree(t, dir.String(), before, "cache.lock")
	done, err := convert.Convert(t.Context(), dir, layouttest.Entry(t, dir, "latest"), dir, "small", o)
	if err != nil || done.Moved != 0 || done.Unchanged || done.From.Digest != tagsOf(t, dir)["latest"] || done.Pruned.Kept.Results == 0 {
		t.Errorf("%+v (%v)", done, err)
	}
	wantClean(t, dir, "small")
}

// datesResults returns all results of a cache.
func datesResults(cache *layout.Cache) (all []buildcache.Result) {
	for _, record := range cache.Config.Records {
		all = append(all, record.Results...)
	}
	return all
}
