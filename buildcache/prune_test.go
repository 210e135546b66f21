package buildcache_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/quicktest"
)

func prune(t testing.TB, c buildcache.Cache, rules buildcache.PruneRules) *buildcache.Pruned {
	t.Helper()
	pruned, err := buildcache.Prune(c, rules)
	if err != nil {
		t.Fatal(err)
	}
	return pruned
}

func second(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC) }

func TestPruneRules(t *testing.T) {
	// A base, two steps on it, and a stage beside them whose file the second step takes.
	build := []string{
		"layer base", "layer one on base", "layer side", "layer two on one",
		"from = base @ 01", "one from = one @ 02", "context", "side context = side @ 05", "two one side = two @ 04",
	}
	for _, test := range []struct {
		about       string
		rules       buildcache.PruneRules
		build, want []string
		freed       []buildcache.Freed
	}{
		{"nothing goes", buildcache.PruneRules{}, build, build, nil},
		{
			"what depends on nothing dropped stays as a key",
			buildcache.PruneRules{Before: second(4)},
			build,
			[]string{
				"layer base", "layer one on base", "layer side", "layer two on one",
				"from", "one from", "context", "side context = side @ 05", "two one side = two @ 04",
			},
			[]buildcache.Freed{{Rule: "older-than", Extent: buildcache.Extent{Results: 2}}},
		},
		{
			"what only the dropped needed goes along",
			buildcache.PruneRules{Before: second(5)},
			build,
			[]string{"layer side", "context", "side context = side @ 05"},
			[]buildcache.Freed{{Rule: "older-than", Extent: buildcache.Extent{Results: 3, Records: 3, Layers: 3, Blobs: 3, Bytes: 30}}},
		},
		{
			"leaves",
			buildcache.PruneRules{Leaves: true},
			build,
			[]string{"layer base", "layer one on base", "layer two on one", "from", "one from", "context", "side context", "two one side = two @ 04"},
			[]buildcache.Freed{{Rule: "leaves", Extent: buildcache.Extent{Results: 3, Layers: 1, Blobs: 1, Bytes: 10}}},
		},
		{
			"bytes",
			buildcache.PruneRules{MaxBytes: 39},
			build,
			[]string{"layer side", "context", "side context = side @ 05"},
			[]buildcache.Freed{{Rule: "keep-bytes", Extent: buildcache.Extent{Results: 3, Records: 3, Layers: 3, Blobs: 3, Bytes: 30}}},
		},
		{"bytes that suffice", buildcache.PruneRules{MaxBytes: 40}, build, build, []buildcache.Freed{{Rule: "keep-bytes"}}},
		{
			"records",
			buildcache.PruneRules{MaxRecords: 4},
			build,
			[]string{"layer side", "context", "side context = side @ 05"},
			[]buildcache.Freed{{Rule: "keep-records", Extent: buildcache.Extent{Results: 3, Records: 3, Layers: 3, Blobs: 3, Bytes: 30}}},
		},
		{
			"one after the other",
			buildcache.PruneRules{Before: second(2), Leaves: true, MaxBytes: 30, MaxRecords: 9},
			build,
			[]string{"layer base", "layer one on base", "layer two on one", "from", "one from", "context", "side context", "two one side = two @ 04"},
			[]buildcache.Freed{
				{Rule: "older-than", Extent: buildcache.Extent{Results: 1}},
				{Rule: "leaves", Extent: buildcache.Extent{Results: 2, Layers: 1, Blobs: 1, Bytes: 10}},
				{Rule: "keep-records"},
				{Rule: "keep-bytes"},
			},
		},
		{
			"what nothing needs",
			buildcache.PruneRules{},
			[]string{"layer x", "layer y", "p", "q p", "r = x @ 01", "s r"},
			[]string{"layer x", "r = x @ 01"},
			[]buildcache.Freed{{Rule: "unneeded", Extent: buildcache.Extent{Records: 3, Layers: 1, Blobs: 1, Bytes: 10}}},
		},
		{
			"of one age the last goes first",
			buildcache.PruneRules{MaxBytes: 10},
			[]string{"layer x", "layer y", "p = x @ 01", "q = y @ 01"},
			[]string{"layer x", "p = x @ 01"},
			[]buildcache.Freed{{Rule: "keep-bytes", Extent: buildcache.Extent{Results: 1, Records: 1, Layers: 1, Blobs: 1, Bytes: 10}}},
		},
		{
			"a record that may be united with one that is needed",
			buildcache.PruneRules{Before: second(2)},
			[]string{"layer x", "layer y", "p", "q", "r p = x @ 03", "r' p|q = y @ 01"},
			[]string{"layer x", "p", "q", "r p = x @ 03", "r' p|q"},
			[]buildcache.Freed{{Rule: "older-than", Extent: buildcache.Extent{Results: 1, Layers: 1, Blobs: 1, Bytes: 10}}},
		},
		{
			"and those that depend on such",
			buildcache.PruneRules{Before: second(2)},
			[]string{"layer x", "layer y", "p", "q", "r p", "r' p|q", "s r = x @ 03", "s' r' = y @ 01", "t r' = y @ 01"},
			[]string{"layer x", "p", "q", "r p", "r' p|q", "s r = x @ 03", "s' r'"},
			[]buildcache.Freed{{Rule: "older-than", Extent: buildcache.Extent{Results: 2, Records: 1, Layers: 1, Blobs: 1, Bytes: 10}}},
		},
		{
			"a result with only a key between it and a leaf is none",
			buildcache.PruneRules{Leaves: true},
			[]string{"layer x", "layer y", "p = x @ 01", "r p", "s r = y @ 02"},
			[]string{"layer y", "p", "r p", "s r = y @ 02"},
			[]buildcache.Freed{{Rule: "leaves", Extent: buildcache.Extent{Results: 1, Layers: 1, Blobs: 1, Bytes: 10}}},
		},
		{
			"records that only a later one brings together, and those that depend on them",
			buildcache.PruneRules{},
			[]string{"layer x", "a", "b", "z", "y z", "r b", "r' a", "r'' a|b|y", "s r = x @ 03", "s' r'"},
			[]string{"layer x", "a", "b", "z", "y z", "r b", "r' a", "r'' a|b|y", "s r = x @ 03", "s' r'"},
			nil,
		},
		{
			"but not one of which an input shares nothing",
			buildcache.PruneRules{Before: second(2)},
			[]string{"layer x", "layer y", "p", "q", "o", "r p q = x @ 03", "r' p o = y @ 01"},
			[]string{"layer x", "p", "q", "r p q = x @ 03"},
			[]buildcache.Freed{{Rule: "older-than", Extent: buildcache.Extent{Results: 1, Records: 2, Layers: 1, Blobs: 1, Bytes: 10}}},
		},
	} {
		t.Run(test.about, func(t *testing.T) {
			want := tiny(t, test.want...)
			pruned := prune(t, tiny(t, test.build...), test.rules)
			if bytesOf(t, pruned.Cache) != bytesOf(t, want) {
				t.Errorf("got  %s\nwant %s", bytesOf(t, pruned.Cache), bytesOf(t, want))
			}
			if freed := pruned.Freed; len(test.freed) == 0 || test.freed[0].Rule != buildcache.PruneUnneeded {
				if freed[0] != (buildcache.Freed{Rule: buildcache.PruneUnneeded}) || !slices.Equal(freed[1:], test.freed) {
					t.Errorf("freed %+v, want %+v", freed, test.freed)
				}
			} else if !slices.Equal(freed, test.freed) {
				t.Errorf("freed %+v, want %+v", freed, test.freed)
			}
		})
	}
}

// TestPruneUnhittable has an alternative that nothing can hit, and an input that has no other.
func TestPruneUnhittable(t *testing.T) {
	c := tiny(t, "layer x", "bad = x @ 01", "p", "r bad|p = x @ 01", "s bad = x @ 01", "t s = x @ 01", "gone = x @ 01")
	c.Config.Records[0].Digest = "sha256:no"
	c.Config.Records[5].Digest = "random:1"
	want := tiny(t, "layer x", "p", "r p = x @ 01")
	pruned := prune(t, c, buildcache.PruneRules{})
	if bytesOf(t, pruned.Cache) != bytesOf(t, want) {
		t.Errorf("got  %s\nwant %s", bytesOf(t, pruned.Cache), bytesOf(t, want))
	}
	if got := pruned.Freed[0].Extent; got != (buildcache.Extent{Results: 4, Records: 4}) {
		t.Errorf("freed %+v", got)
	}
}

func TestPruneAges(t *testing.T) {
	c := tiny(t, "layer x", "layer y", "p = x @ 01", "q = y @ 01")
	for i := range c.Config.Records {
		c.Config.Records[i].Results[0].CreatedAt = buildcache.Time{}
	}
	c.Root.Layers[0].Annotations[buildcache.AnnotationCreatedAt] = "2026-01-01T00:00:05Z"
	for seconds, want := range map[int]buildcache.Extent{
		5: {Results: 2, Records: 2, Layers: 2, Blobs: 2, Bytes: 20},
		6: {Results: 1, Records: 1, Layers: 1, Blobs: 1, Bytes: 10}, // the one of unknown age
	} {
		if pruned := prune(t, c, buildcache.PruneRules{Before: second(seconds)}); pruned.Kept != want || pruned.Undated != 1 {
			t.Errorf("%d: %+v", seconds, pruned)
		}
	}
	if pruned := prune(t, c, buildcache.PruneRules{MaxBytes: 10}); pruned.Root.Layers[0].Digest != sum("x") {
		t.Error("not the one of unknown age went first")
	}
}

// TestPruneChains has a chain that skips the layer between two.
func TestPruneChains(t *testing.T) {
	c := tiny(t, "layer base", "layer x on base", "layer y on x", "old = x @ 01", "new")
	c.Config.Records[1].Chains = []buildcache.Chain{{Layers: []int{0, 2}, CreatedAt: buildcache.Time{Time: second(9)}}}
	pruned := prune(t, c, buildcache.PruneRules{Before: second(2)})
	if got := marshal(t, pruned.Config.Layers); got != fmt.Sprintf(`[{"blob":%q,"parent":-1},{"blob":%q,"parent":-1}]`, sum("base"), sum("y")) {
		t.Error(got)
	}
	if got := pruned.Config.Records[0].Chains[0].Layers; !slices.Equal(got, []int{0, 1}) {
		t.Error(got)
	}
}

// TestPruneRootDuplicates keeps as many descriptors of a blob as there are layers, and of them the last.
func TestPruneRootDuplicates(t *testing.T) {
	c := tiny(t, "layer base", "layer x", "layer x on base", "p = base @ 01", "r = x @ 05")
	c.Config.Layers[1].Parent = buildcache.NoParent
	c.Root.Layers[1].Size = 77
	pruned := prune(t, c, buildcache.PruneRules{Before: second(2)})
	if len(pruned.Root.Layers) != 2 || pruned.Root.Layers[1].Size != 10 {
		t.Errorf("%+v", pruned.Root.Layers)
	}
}

func TestPruneRefuses(t *testing.T) {
	c := tiny(t, "layer x", "r = x @ 01")
	c.Config.Layers[0].Parent = 0
	var refused *buildcache.RefusedError
	if _, err := buildcache.Prune(c, buildcache.PruneRules{}); !errors.As(err, &refused) {
		t.Error(err)
	}
	c = tiny(t, "layer x", "r = x @ 01")
	c.Config.Extra = buildcache.Extra{{Name: "long", Value: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)}}
	var tooLarge *buildcache.SizeError
	if _, err := buildcache.Prune(c, buildcache.PruneRules{Fit: true}); !errors.As(err, &tooLarge) {
		t.Error(err)
	}
	if pruned := prune(t, tiny(t, "layer x", "r = x @ 01"), buildcache.PruneRules{Before: second(2)}); pruned.Kept != (buildcache.Extent{}) {
		t.Errorf("%+v", pruned.Kept)
	}
}

// TestPruneCorpus finds nothing unneeded in what BuildKit wrote, so that not a byte changes, and prunes it in every way.
func TestPruneCorpus(t *testing.T) {
	caches := corpusCaches(t)
	for i, name := range slices.Sorted(maps.Keys(caches)) {
		c := caches[name]
		if pruned := prune(t, c, buildcache.PruneRules{}); bytesOf(t, pruned.Cache) != bytesOf(t, c) {
			t.Errorf("%s: %+v", name, pruned.Freed)
		}
		all := []buildcache.PruneRules{{Leaves: true}, {MaxRecords: 12}, {MaxBytes: 9000}, {Before: middleAge(c)}, {Fit: true}}
		for j := range quicktest.Rounds(2, len(all)) {
			checkPruned(t, c, all[(i+j)%len(all)])
		}
	}
}

// middleAge returns the time of a result in the middle.
func middleAge(c buildcache.Cache) time.Time {
	var times []time.Time
	for _, record := range c.Config.Records {
		for _, r := range record.Results {
			times = append(times, r.CreatedAt.Time)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	if len(times) == 0 {
		return time.Time{}
	}
	return times[len(times)/2]
}

func TestPruneRandom(t *testing.T) {
	gone, left := 0, 0
	seeds := quicktest.Rounds(150, 600)
	for seed := range uint64(seeds) {
		w := newWorld(seed)
		w.unequal = true
		if seed%2 == 1 {
			w.keys = 1e9 // no two records may be united, so that what is needed is plain
		}
		c := w.cache(t, 6, 12)
		rules := buildcache.PruneRules{Leaves: w.seldom(4)}
		if w.seldom(2) {
			rules.Before = time.Unix(1e9+int64(w.IntN(w.times)), 0)
		}
		if w.seldom(3) {
			rules.MaxBytes = int64(w.IntN(150))
		}
		if w.seldom(3) {
			rules.MaxRecords = w.IntN(8)
		}
		pruned := checkPruned(t, c, rules)
		if seed%2 == 1 {
			checkMinimal(t, pruned.Cache)
			checkMaximal(t, c, pruned, rules)
		}
		for _, freed := range pruned.Freed[1:] {
			gone += freed.Results
		}
		left += pruned.Kept.Results
		if t.Failed() {
			t.Fatalf("seed %d: %+v\n%s\n%s", seed, rules, bytesOf(t, c), bytesOf(t, pruned.Cache))
		}
	}
	t.Logf("%d results dropped, %d kept", gone, left)
	if gone < seeds || left < seeds {
		t.Error("the mixture says little")
	}
}

// checkPruned prunes and checks what must be so whatever the rules: the limits hold, the sums are right, pruning again
// changes nothing, nothing is left that BuildKit would stumble over, and what is left was there.
func checkPruned(t *testing.T, c buildcache.Cache, rules buildcache.PruneRules) *buildcache.Pruned {
	t.Helper()
	before := bytesOf(t, c)
	pruned := prune(t, c, rules)
	if bytesOf(t, c) != before {
		t.Errorf("what it came from changed from %s\nto %s", before, bytesOf(t, c))
	}
	kept := pruned.Kept
	if rules.MaxBytes > 0 && kept.Bytes > rules.MaxBytes || rules.MaxRecords > 0 && kept.Records > rules.MaxRecords {
		t.Errorf("%+v: kept %+v", rules, kept)
	}
	if got := extentOf(pruned.Cache); got != kept {
		t.Errorf("kept %+v, and says %+v", got, kept)
	}
	checkLeft(t, c, pruned)
	sum, all := kept, extentOf(c)
	for _, freed := range pruned.Freed {
		sum.Results += freed.Results
		sum.Records += freed.Records
		sum.Layers += freed.Layers
		sum.Blobs += freed.Blobs
		sum.Bytes += freed.Bytes
	}
	if sum != all {
		t.Errorf("kept %+v and freed %+v are %+v, not %+v", kept, pruned.Freed, sum, all)
	}
	read := reread(t, pruned.Cache)
	if pruned.Root.Config.Digest != digest.FromString(marshal(t, pruned.Config)) {
		t.Error("the root points to another config")
	}
	again := prune(t, read, rules)
	if bytesOf(t, again.Cache) != bytesOf(t, pruned.Cache) {
		t.Errorf("again: %s\nonce: %s", bytesOf(t, again.Cache), bytesOf(t, pruned.Cache))
	}
	for _, p := range buildcache.Validate(read.Root, 1, read.Config) {
		if p.Kind != buildcache.NoResults && p.Kind != buildcache.RootNoLayers && p.Kind != buildcache.RootNoMediaType && p.Kind != buildcache.LayerForeign {
			t.Errorf("%+v", p)
		}
	}
	was := everyResult(c)
	for name, n := range everyResult(read) {
		if n > was[name] {
			t.Errorf("new: %s", name)
		}
	}
	return pruned
}

// everyResult counts the results of every record. Inputs that can't be hit are no part of its name.
func everyResult(c buildcache.Cache) map[string]int {
	all := map[string]int{}
	for i := range c.Config.Records {
		if name, ok := nameRecord(c.Config, i); ok {
			for _, r := range resultsOf(c, i) {
				all[name+r.String()]++
			}
		}
	}
	return all
}

func extentOf(c buildcache.Cache) buildcache.Extent {
	e := buildcache.Extent{Records: len(c.Config.Records), Layers: len(c.Config.Layers)}
	for _, record := range c.Config.Records {
		e.Results += len(record.Results) + len(record.Chains)
	}
	for _, layer := range c.Root.LayersByDigest() {
		e.Blobs++
		e.Bytes += layer.Size
	}
	return e
}

// checkMinimal fails if a record or layer is there that no result needs, in a cache in which no records can be united.
func checkMinimal(t *testing.T, c buildcache.Cache) {
	t.Helper()
	records, layers := map[int]bool{}, map[int]bool{}
	var need func(i int)
	need = func(i int) {
		records[i] = true
		for _, alternatives := range c.Config.Records[i].Inputs {
			for _, input := range alternatives {
				need(input.Link)
			}
		}
	}
	for i, record := range c.Config.Records {
		if len(record.Results)+len(record.Chains) > 0 {
			need(i)
		}
		for _, r := range record.Results {
			for at := r.Layer; at != buildcache.NoParent; at = c.Config.Layers[at].Parent {
				layers[at] = true
			}
		}
		for _, chain := range record.Chains {
			for _, layer := range chain.Layers {
				layers[layer] = true
			}
		}
	}
	if len(records) != len(c.Config.Records) || len(layers) != len(c.Config.Layers) {
		t.Errorf("needed are %v and %v", records, layers)
	}
}

// checkLeft fails where what is left is not what is said of each record.
func checkLeft(t *testing.T, c buildcache.Cache, pruned *buildcache.Pruned) {
	t.Helper()
	if len(pruned.Left) != len(c.Config.Records) {
		t.Fatalf("%d counts of %d records", len(pruned.Left), len(c.Config.Records))
	}
	left := pruned.Config.Records
	for i, n := range pruned.Left {
		switch {
		case n < 0:
		case len(left) == 0:
			t.Fatalf("records[%d] is not left", i)
		case left[0].Digest != c.Config.Records[i].Digest || len(left[0].Results)+len(left[0].Chains) != n:
			t.Fatalf("records[%d] has %d results left, and is %+v", i, n, left[0])
		default:
			left = left[1:]
		}
	}
	if len(left) > 0 {
		t.Errorf("more is left: %+v", left)
	}
}

// checkMaximal fails if a limit would have let the newest dropped result stay. It looks at the last rule only.
func checkMaximal(t *testing.T, c buildcache.Cache, pruned *buildcache.Pruned, rules buildcache.PruneRules) {
	t.Helper()
	last := pruned.Freed[len(pruned.Freed)-1]
	if last.Rule != buildcache.PruneMaxBytes || last.Results == 0 || rules.Leaves {
		return
	}
	without := rules
	without.MaxBytes = rules.MaxBytes + 1e6
	all := prune(t, c, without)
	// One result more is what a limit gives that is just large enough for it, and that must be above the limit.
	for limit := rules.MaxBytes + 1; limit <= all.Kept.Bytes; limit++ {
		without.MaxBytes = limit
		if more := prune(t, c, without); more.Kept.Results > pruned.Kept.Results {
			if more.Kept.Bytes <= rules.MaxBytes {
				t.Errorf("%d results are %d bytes, the limit was %d", more.Kept.Results, more.Kept.Bytes, rules.MaxBytes)
			}
			return
		}
	}
	if all.Kept.Results > pruned.Kept.Results && all.Kept.Bytes <= rules.MaxBytes {
		t.Error("all would have fit")
	}
}

// fuzzPrune prunes a cache that BuildKit would read, by rules that depend on it.
func fuzzPrune(t *testing.T, c buildcache.Cache) {
	t.Helper()
	for _, layer := range c.Root.Layers {
		if layer.Size < 0 || layer.Size > 1<<40 {
			return // sums of such say nothing
		}
	}
	for _, rules := range []buildcache.PruneRules{{}, {Leaves: true}, {Before: middleAge(c), MaxRecords: 1 + len(c.Config.Records)/2}, {MaxBytes: 5000}} {
		pruned := prune(t, c, rules)
		again := prune(t, reread(t, pruned.Cache), rules)
		if bytesOf(t, again.Cache) != bytesOf(t, pruned.Cache) {
			t.Errorf("%+v: again: %s\nonce: %s", rules, bytesOf(t, again.Cache), bytesOf(t, pruned.Cache))
		}
		if rules.MaxRecords > 0 && pruned.Kept.Records > rules.MaxRecords {
			t.Errorf("%+v: kept %+v", rules, pruned.Kept)
		}
	}
}
