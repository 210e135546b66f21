package buildcache_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
)

// model is what a cache means, found in the plainest way: by record, spelled out with all its inputs, the best result,
// spelled out with all its layers.
type model map[string]modelResult

type modelResult struct {
	created time.Time
	layers  []string // lowest first; nil where the record has no result
	none    bool
}

func (r modelResult) String() string {
	return fmt.Sprint(r.none, r.created.UTC().Format(time.RFC3339Nano), r.layers)
}

// better is the rule of Merge: newest, then the lower topmost layer. What differs further down is left open.
func (r modelResult) better(other modelResult) bool {
	if r.none || other.none {
		return other.none && !r.none
	}
	if c := r.created.Compare(other.created); c != 0 {
		return c > 0
	}
	return r.top() < other.top()
}

func (r modelResult) top() string {
	if len(r.layers) == 0 {
		return ""
	}
	return r.layers[len(r.layers)-1]
}

// modelOf adds caches to one model.
func modelOf(caches ...buildcache.Cache) model {
	m := model{}
	for _, c := range caches {
		for i := range c.Config.Records {
			name, ok := nameRecord(c.Config, i)
			if !ok {
				continue
			}
			if _, ok := m[name]; !ok {
				m[name] = modelResult{none: true}
			}
			for _, r := range resultsOf(c, i) {
				if r.better(m[name]) {
					m[name] = r
				}
			}
		}
	}
	return m
}

// nameRecord spells a record out, and is false if nothing can hit it.
func nameRecord(config *buildcache.Config, i int) (string, bool) {
	record := config.Records[i]
	if buildcache.CheckDigest(record.Digest) != nil {
		return "", false
	}
	var slots []string
	for _, alternatives := range record.Inputs {
		var slot []string
		for _, input := range alternatives {
			if name, ok := nameRecord(config, input.Link); ok {
				slot = append(slot, input.Selector+"/"+name)
			}
		}
		if slot == nil {
			return "", false
		}
		slices.Sort(slot)
		slots = append(slots, "["+strings.Join(slices.Compact(slot), "|")+"]")
	}
	return record.Digest.Encoded()[:6] + "(" + strings.Join(slots, "") + ")", true
}

// resultsOf returns the results of a record whose layers are all listed.
func resultsOf(c buildcache.Cache, i int) []modelResult {
	listed := c.Root.LayersByDigest()
	var results []modelResult
	add := func(created time.Time, layers []int) {
		r := modelResult{created: created}
		for _, i := range layers {
			if _, ok := listed[c.Config.Layers[i].Blob]; !ok {
				return
			}
			r.layers = append(r.layers, c.Config.Layers[i].Blob.String())
		}
		results = append(results, r)
	}
	for _, r := range c.Config.Records[i].Results {
		var layers []int
		for at := r.Layer; at != buildcache.NoParent; at = c.Config.Layers[at].Parent {
			layers = append(layers, at)
		}
		slices.Reverse(layers)
		add(r.CreatedAt.Time, layers)
	}
	for _, chain := range c.Config.Records[i].Chains {
		add(chain.CreatedAt.Time, chain.Layers)
	}
	return results
}

// sameModel fails if two models differ. Where two results are as good as each other it takes either.
func sameModel(t *testing.T, got, want model) {
	t.Helper()
	for name, w := range want {
		g, ok := got[name]
		if !ok || g.better(w) || w.better(g) {
			t.Errorf("%s: got %s, want %s", name, g, w)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is new", name)
		}
	}
}

// errorsOf returns what is wrong with a cache.
func errorsOf(t *testing.T, c buildcache.Cache) []buildcache.Problem {
	t.Helper()
	problems := buildcache.Validate(c.Root, int64(len(marshal(t, c.Root))), c.Config)
	return slices.DeleteFunc(problems, func(p buildcache.Problem) bool { return p.Severity != buildcache.SeverityError })
}

// sortedKeys helps to go through caches in one order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	var keys []K
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
