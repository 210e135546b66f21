// Package explain says which step of a build a cache's record stands for, and
// why a step of a build is not in a cache.
//
// Records hold only digests. What they are digests of can be rebuilt from what a
// build reported about its steps (package provenance): operations from that
// alone (package llb), contents of files from the build context or the layers of
// the cache (package contenthash). Steps are matched by the whole chain that
// leads to them, never by a digest alone: the same command on another base is
// another step.
//
// The rules are those of BuildKit's importer and solver, v0.34. Whatever is not
// proved says how it is known.
package explain

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// graph is the records of a cache, indexed.
type graph struct {
	config   *buildcache.Config
	byDigest map[digest.Digest][]int
	// below finds the records whose first input has a link to a record.
	below map[below][]int
	// stacks has, for each layer, what it is together with all layers under it.
	stacks []stack
	// chains are the digests of records that BuildKit before v0.34 made from an image's layers.
	chains map[digest.Digest]bool
}

type below struct {
	digest   digest.Digest
	selector string
	link     int
}

func newGraph(c *layout.Cache) (*graph, error) {
	g := &graph{config: c.Config, byDigest: map[digest.Digest][]int{}, below: map[below][]int{}}
	records := c.Config.Records
	for i, r := range records {
		g.byDigest[r.Digest] = append(g.byDigest[r.Digest], i)
		for slot, alternatives := range r.Inputs {
			for _, in := range alternatives {
				if in.Link < 0 || in.Link >= len(records) {
					return nil, fmt.Errorf("records[%d] links to records[%d] of %d: the cache is damaged", i, in.Link, len(records))
				}
				if slot == 0 {
					key := below{r.Digest, in.Selector, in.Link}
					g.below[key] = append(g.below[key], i)
				}
			}
		}
	}
	g.stacks = stacksOf(c)
	g.chains = chainRecords(g.stacks)
	return g, nil
}

// isLeaf reports whether a record has no inputs, as those of sources and contents.
func (g *graph) isLeaf(record int) bool { return len(g.config.Records[record].Inputs) == 0 }

// hasResult reports whether a record has a result, whether or not its layers exist.
func (g *graph) hasResult(record int) bool {
	r := &g.config.Records[record]
	return len(r.Results)+len(r.Chains) > 0
}

// candidates returns the records that have a digest and may follow the records of a first input, or all records with the
// digest if first is nil.
func (g *graph) candidates(d digest.Digest, selector digest.Digest, first []int) []int {
	all := g.byDigest[d]
	if first == nil || len(all) <= len(first) {
		return all
	}
	var found []int
	seen := map[int]bool{}
	for _, link := range first {
		for _, r := range g.below[below{d, selector.String(), link}] {
			if !seen[r] {
				seen[r] = true
				found = append(found, r)
			}
		}
	}
	return found
}
