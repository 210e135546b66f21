package explain

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/layout"
)

// rootSelector is the selector that every RUN has had for its root since v0.13.
var rootSelector = digest.FromString("/").String()

// CheckKeys finds records with keys that only older BuildKits make: newer ones run
// those steps again. It needs no provenance, so it finds only what digests reveal
// by themselves.
func CheckKeys(c *layout.Cache) []buildcache.Problem {
	k := keyCheck{config: c.Config, merges: map[llb.Form]int{}, known: map[digest.Digest]llb.Form{}, sizes: map[int]bool{}}
	for i := range c.Config.Records {
		k.look(&c.Config.Records[i])
	}
	var problems []buildcache.Problem
	report := func(detail string) {
		problems = append(problems, buildcache.NewProblem(buildcache.KeysOutdated, "records", detail).AsWarning())
	}
	isOld := k.merges[llb.FormV11] > 0
	if !isOld && k.bare > 0 && !k.hasRoot {
		g := graph{config: c.Config, stacks: stacksOf(c)}
		isOld = g.hasChain()
	}
	if isOld {
		report("exported by BuildKit before v0.13: newer ones hit none of its RUN steps, and no COPY --link")
	}
	if n := k.merges[llb.FormV13]; n > 0 {
		report(fmt.Sprintf("exported by BuildKit before v0.17: newer ones do not hit its COPY --link (%d of them), nor RUN --mount and COPY --chown", n))
	}
	return problems
}

// keyCheck counts what reveals a version.
type keyCheck struct {
	config  *buildcache.Config
	merges  map[llb.Form]int
	known   map[digest.Digest]llb.Form // digests of merges
	sizes   map[int]bool               // numbers of inputs whose merges are known
	bare    int                        // records that may be of a RUN before v0.13
	hasRoot bool                       // some record has the selector of a RUN since then
}

func (k *keyCheck) look(r *buildcache.Record) {
	selected := false
	for _, slot := range r.Inputs {
		for _, in := range slot {
			selected = selected || in.Selector != ""
			k.hasRoot = k.hasRoot || in.Selector == rootSelector
		}
	}
	if selected {
		return
	}
	if len(r.Inputs) == 1 && len(r.Results) > 0 {
		k.bare++
	}
	if n := len(r.Inputs); n >= 2 && n <= maxMerge {
		k.learn(n)
		if form, ok := k.known[r.Digest]; ok {
			k.merges[form]++
		}
	}
}

// maxMerge is the most inputs of a merge that is looked for.
const maxMerge = 64

// learn computes the digests of merges with some number of inputs.
func (k *keyCheck) learn(inputs int) {
	if k.sizes[inputs] {
		return
	}
	k.sizes[inputs] = true
	op := llb.Op{Merge: &llb.MergeOp{}}
	for i := range inputs {
		op.Merge.Inputs = append(op.Merge.Inputs, &llb.InputRef{Input: int64(i)})
	}
	for _, form := range []llb.Form{llb.FormV13, llb.FormV11} {
		if m, err := op.CacheMap(inputs, llb.Platform{}, form); err == nil {
			k.known[m.Key.Record(0)] = form
		}
	}
}

// hasChain reports whether a record stands for a chain of layers, which images had in addition to their digest before v0.34.
func (g *graph) hasChain() bool {
	chains := chainRecords(g.stacks)
	for i := range g.config.Records {
		if g.isLeaf(i) && chains[g.config.Records[i].Digest] {
			return true
		}
	}
	return false
}

// chainRecords returns the digests of the records that chains of layers would have.
func chainRecords(stacks []stack) map[digest.Digest]bool {
	found := map[digest.Digest]bool{}
	for _, s := range stacks {
		if s.chain != "" {
			found[llb.ChainKey(s.chain).Record(0)] = true
		}
	}
	return found
}
