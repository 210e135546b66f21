package explain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/llb"
)

// contents finds the records that stand for the files of a step's output.
type contents struct {
	plan    *plan
	graph   *graph
	layers  *Layers // nil if no layers are to be read
	locals  localTrees
	records func(output) []int // records that stand for an output and whose results have its files
	trees   map[output][]knownTree
	done    map[contentKey]contentOf
}

// knownTree is the files of an output, as far as they are known.
type knownTree struct {
	tree *contenthash.Tree
	how  How
}

type contentKey struct {
	output
	selector digest.Digest
	paths    string
}

// contentOf is what is known of an output's content. It has one digest for each tree that the output may have.
type contentOf struct {
	records []digest.Digest
	older   []digest.Digest // as BuildKit before v0.26 would compute them
	how     How
	err     error
}

// errUnknownFiles says that an output's files can't be known without running something.
var errUnknownFiles = errors.New("the files are not known")

// of returns the digests of the records that may stand for the selected files of an output. It fails with errUnknownFiles,
// errNoContext or contenthash.ErrNotFound.
func (c *contents) of(ctx context.Context, out output, dep llb.Dep) (contentOf, error) {
	key := contentKey{out, dep.Selector, fmt.Sprint(dep.Paths)}
	known, ok := c.done[key]
	if !ok {
		known = c.compute(ctx, out, dep.Paths)
		if ctx.Err() != nil {
			return contentOf{}, context.Cause(ctx)
		}
		c.done[key] = known
	}
	return known, known.err
}

// isUnread reports whether an error says that a file in a given directory can't be read. Nothing else can be said then.
func isUnread(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

func (c *contents) compute(ctx context.Context, out output, paths []llb.Selection) contentOf {
	trees, err := c.treesOf(ctx, out)
	if err != nil {
		return contentOf{err: err}
	}
	if len(paths) == 0 {
		paths = []llb.Selection{{}}
	}
	var found contentOf
	for _, t := range trees {
		record, err := recordOf(paths, t.tree.Checksum)
		if err != nil {
			return contentOf{err: err}
		}
		found.records, found.how = append(found.records, record), t.how
		if older, err := recordOf(paths, t.tree.OldChecksum); err == nil && older != record {
			found.older = append(found.older, older)
		}
	}
	return found
}

// absent returns those of the paths that a local source lacks, if its directory is known.
func (c *contents) absent(out output, paths []llb.Selection) []string {
	source := c.plan.Steps[out.step].Op.Source
	if source == nil || !source.IsLocal() {
		return nil
	}
	tree, err := c.locals.tree(out.step, source)
	if err != nil {
		return nil
	}
	var absent []string
	for _, p := range paths {
		if _, err := tree.Checksum(p); errors.Is(err, contenthash.ErrNotFound) || err == nil && !tree.Has(p) {
			absent = append(absent, pathsOf([]llb.Selection{p})...)
		}
	}
	return absent
}

// matchesNothing reports whether a wildcard matches nothing in a local source. That fails no build, and if another build had files
// there, the directory may be the wrong one, as when a path is absent.
func (c *contents) matchesNothing(out output, paths []llb.Selection) bool {
	return slices.ContainsFunc(paths, func(p llb.Selection) bool { return p.Wildcard }) && len(c.absent(out, paths)) > 0
}

func recordOf(paths []llb.Selection, checksum func(llb.Selection) (digest.Digest, error)) (digest.Digest, error) {
	sums := make([]digest.Digest, len(paths))
	for i, p := range paths {
		sum, err := checksum(p)
		if err != nil {
			return "", err
		}
		sums[i] = sum
	}
	return llb.ContentRecord(sums), nil
}

// treesOf returns the files that an output may have.
func (c *contents) treesOf(ctx context.Context, out output) ([]knownTree, error) {
	if known, ok := c.trees[out]; ok {
		return known, nil
	}
	trees, err := c.loadTrees(ctx, out)
	if err != nil {
		return nil, err
	}
	c.trees[out] = trees
	return trees, nil
}

func (c *contents) loadTrees(ctx context.Context, out output) ([]knownTree, error) {
	if source := c.plan.Steps[out.step].Op.Source; source != nil && source.IsLocal() {
		tree, err := c.locals.tree(out.step, source)
		return []knownTree{{tree, ByContent}}, err
	}
	if tree, ok := c.defined(out); ok {
		return []knownTree{{tree, ByDefinition}}, nil
	}
	if c.layers == nil {
		return nil, errUnknownFiles
	}
	err := errUnknownFiles
	for _, results := range c.resultsOf(out) {
		var trees []knownTree
		if trees, err = c.resultTrees(ctx, results); err == nil || ctx.Err() != nil {
			return trees, err
		}
	}
	return nil, err
}

// resultTrees returns the files of some results.
func (c *contents) resultTrees(ctx context.Context, results []result) ([]knownTree, error) {
	var trees []knownTree
	for _, result := range results {
		tree, err := c.layers.files(ctx, result)
		if err != nil {
			return nil, err
		}
		trees = append(trees, knownTree{tree, ByLayers})
	}
	return trees, nil
}

// resultsOf returns the results that have the files of an output: one list, or several lists of which any will do.
func (c *contents) resultsOf(out output) [][]result {
	if c.plan.Steps[out.step].Op.Source != nil {
		return c.imageResults(out)
	}
	var all []result
	for _, r := range c.records(out) {
		all = append(all, c.graph.results(r)...)
	}
	if len(all) == 0 {
		return nil
	}
	return [][]result{all}
}

// imageResults returns the results of an image, whose record has none: those of the steps on it, without the steps' layers.
func (c *contents) imageResults(out output) [][]result {
	var lists [][]result
	for i, s := range c.plan.Steps {
		if len(s.Inputs) == 0 || s.Inputs[0] != (inputOf{Step: out.step, Output: out.output}) {
			continue
		}
		if s.Op.Exec == nil && s.Op.File == nil {
			continue
		}
		for _, n := range c.plan.steps[i].outputs {
			records := c.records(output{i, n})
			if len(records) == 0 {
				continue
			}
			var below []result
			for _, r := range c.graph.results(records[0]) {
				below = append(below, c.graph.without(r))
			}
			if len(below) > 0 {
				lists = append(lists, below)
			}
		}
	}
	return lists
}

// readAhead reads in parallel the layers with the files of some outputs, which are then asked for one after the other.
func (c *contents) readAhead(ctx context.Context, inputs []contentInput) error {
	if c.layers == nil {
		return nil
	}
	var layers []int
	for _, in := range inputs {
		if c.isWithoutLayers(in.out) {
			continue
		}
		if lists := c.resultsOf(in.out); len(lists) > 0 {
			for _, r := range lists[0] {
				layers = append(layers, c.layers.missingTrees(r)...)
			}
		}
	}
	slices.Sort(layers)
	return c.layers.readAll(ctx, slices.Compact(layers))
}

// isWithoutLayers reports whether an output's files come from a directory or the definition, not from layers.
func (c *contents) isWithoutLayers(out output) bool {
	op := c.plan.Steps[out.step].Op
	if op.Source != nil && op.Source.IsLocal() {
		return true
	}
	_, defined := c.defined(out)
	return defined
}

// defined returns the files that an output has by its definition alone.
func (c *contents) defined(out output) (*contenthash.Tree, bool) {
	s := c.plan.Steps[out.step]
	if s.Op.File == nil || len(s.Inputs) > 0 {
		return nil, false
	}
	return contenthash.Defined(s.Op.File)
}
