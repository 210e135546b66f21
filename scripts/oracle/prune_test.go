package oracle

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
)

// TestPruneCorpus prunes real caches and merges of them in every way, and asks BuildKit for every step of what they were.
func TestPruneCorpus(t *testing.T) {
	caches := realCaches(t)
	names := slices.Sorted(maps.Keys(caches))
	hits, lost := 0, 0
	for i, name := range names {
		merged, err := buildcache.Merge([]buildcache.Cache{caches[name], caches[names[(i+3)%len(names)]]}, buildcache.MergeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []buildcache.Cache{caches[name], merged.Cache} {
			results := datedResults(c)
			for _, rules := range []buildcache.PruneRules{
				{}, {Leaves: true}, {MaxRecords: len(c.Config.Records) / 2}, {MaxBytes: 10000}, {Before: results[len(results)/2]},
			} {
				h, l := comparePruned(t, c, rules, 8, name)
				hits, lost = hits+h, lost+l
			}
		}
	}
	t.Logf("%d hits as before, %d steps without the result they had", hits, lost)
	if hits < 1000 || lost < 1000 {
		t.Error("the mixture says little")
	}
}

// datedResults returns the times of results, oldest first.
func datedResults(c buildcache.Cache) []time.Time {
	var times []time.Time
	for _, record := range c.Config.Records {
		for _, r := range record.Results {
			times = append(times, r.CreatedAt.Time)
		}
		for _, chain := range record.Chains {
			times = append(times, chain.CreatedAt.Time)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// comparePruned asks for every step of a cache before and after it was pruned. Where the result that was hit is still there,
// it must be hit again, and where it is not, an older one that is still there. It returns how many steps kept a result, and
// how many have another one or none.
func comparePruned(t *testing.T, c buildcache.Cache, rules buildcache.PruneRules, ways int, about string) (hits, lost int) {
	t.Helper()
	pruned, err := buildcache.Prune(c, rules)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[time.Time]bool{}
	for _, created := range datedResults(pruned.Cache) {
		kept[created.UTC()] = true
	}
	before, now := importInto(t, c), importInto(t, pruned.Cache)
	for _, asked := range steps(c.Config, ways) {
		for _, asks := range asked {
			were, are := before.newest(t, asks), now.newest(t, asks)
			var still []hit
			for _, h := range were {
				if kept[h.created] {
					still = append(still, h)
				}
			}
			switch {
			case len(still) > 0 && (len(are) == 0 || !slices.Contains(were, are[0])):
				t.Fatalf("%s, %+v: %s: BuildKit hits %v, and %v before", about, rules, asks, are, were)
			case len(are) > 0 && len(were) > 0 && are[0].created.After(were[0].created):
				t.Fatalf("%s, %+v: %s: BuildKit hits %v, and the older %v before", about, rules, asks, are, were)
			case len(still) > 0:
				hits++
			case len(were) > 0:
				lost++
			}
		}
	}
	return hits, lost
}

// TestPruneRandom does the same with random caches, whose times are all different, so that a time tells a result.
func TestPruneRandom(t *testing.T) {
	const enough = 5 * time.Second
	hits, lost, n := 0, 0, 0
	for start := time.Now(); n < 20000 && time.Since(start) < enough && !t.Failed(); n++ {
		random := rand.New(rand.NewPCG(4, uint64(n)))
		c := soundCache(random)
		if merged, err := buildcache.Merge([]buildcache.Cache{c}, buildcache.MergeOptions{}); err == nil && merged.Cut > 0 {
			continue // BuildKit may not survive it, see TestMergeCircle
		}
		rules := buildcache.PruneRules{Leaves: random.IntN(4) == 0, MaxBytes: random.Int64N(50), MaxRecords: random.IntN(7)}
		if random.IntN(2) == 0 {
			rules.Before = time.Unix(random.Int64N(1e9), 0)
		}
		h, l := comparePruned(t, c, rules, 8, "random")
		hits, lost = hits+h, lost+l
	}
	t.Logf("%d caches: %d hits as before, %d steps without the result they had", n, hits, lost)
	if hits < n/2 || lost < n/2 {
		t.Error("the mixture says little")
	}
}
