package buildcache

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// maxSame bounds how often one kind of problem is reported for one cache, so that a hostile config of many megabytes can't
// produce a report of many gigabytes.
const maxSame = 100

// Validate checks a root and its config against the rules of BuildKit's importer (v0.34.2: remotecache/import.go,
// remotecache/v1/parse.go, worker.FromRemote), as far as the two alone can tell. rootSize is the size of the root's bytes; the
// config's size is taken from its descriptor, as in BuildKit. Time and memory are linear in the two.
//
// It can't see whether blobs are there and whole, or whether a cache key is the right one.
func Validate(root *Root, rootSize int64, config *Config) []Problem {
	v := &validator{root: root, config: config, listed: root.LayersByDigest(), seen: map[Kind]int{}, more: map[Kind]int{}}
	v.checkSizes(rootSize)
	v.checkRoot()
	v.checkLinks()
	used := v.checkResults()
	v.checkLayers(used)
	return v.problems
}

type validator struct {
	root     *Root
	config   *Config
	listed   map[digest.Digest]Descriptor
	dead     []bool // the records that nothing can hit
	usable   []bool // the records with a result that BuildKit keeps
	problems []Problem
	seen     map[Kind]int
	more     map[Kind]int // the index of the problem that stands for all further ones
}

func (v *validator) report(p Problem) {
	v.seen[p.Kind]++
	switch n := v.seen[p.Kind]; {
	case n <= maxSame:
		v.problems = append(v.problems, p)
	case n == maxSame+1:
		v.more[p.Kind] = len(v.problems)
		p.Where, p.Digest, p.Detail = "", "", "more of the same, not listed"
		v.problems = append(v.problems, p)
	default:
		// An error must not get lost behind warnings.
		if line := &v.problems[v.more[p.Kind]]; line.Severity != SeverityError && p.Severity == SeverityError {
			*line = line.WithEffect(p.Effect)
		}
	}
}

func (v *validator) checkSizes(rootSize int64) {
	if rootSize > MaxImport {
		v.report(NewProblem(RootTooLarge, "root", fmt.Sprintf("the root has %d bytes (%d layers); BuildKit imports at most %d",
			rootSize, len(v.root.Layers), MaxImport)))
	}
	if size := v.root.Config.Size; size > MaxImport {
		v.report(NewProblem(ConfigTooLarge, "config", fmt.Sprintf("the cache config has %d bytes (%d records); BuildKit imports at most %d",
			size, len(v.config.Records), MaxImport)).On(v.root.Config.Digest))
	}
}

func (v *validator) checkRoot() {
	if v.root.MediaType == "" {
		v.report(NewProblem(RootNoMediaType, "root", ""))
	}
	if len(v.root.Layers) == 0 {
		v.report(NewProblem(RootNoLayers, "root", ""))
	}
	for _, d := range v.root.Ignored {
		v.report(NewProblem(ConfigRepeated, "root", "").On(d.Digest))
	}
	if err := CheckDigest(v.root.Config.Digest); err != nil {
		v.report(NewProblem(DigestInvalid, "root.config", err.Error()).WithEffect(HitsLost))
	}
}

// checkLayers reports what is wrong with the descriptors of layers. A layer that no result needs can't harm a build.
func (v *validator) checkLayers(used map[digest.Digest]bool) {
	for i, layer := range v.root.Layers {
		where := fmt.Sprintf("root.layers[%d]", i)
		if layer.MediaType == MediaTypeConfig && !used[layer.Digest] {
			v.report(NewProblem(ConfigMisplaced, where, "").On(layer.Digest))
			continue
		}
		effective := v.listed[layer.Digest]
		if layer.Size != effective.Size || layer.MediaType != effective.MediaType || layer.DiffID() != effective.DiffID() {
			v.report(NewProblem(LayerConflict, where, "").On(layer.Digest))
			continue // the importer never sees this one
		}
		for _, p := range checkLayer(where, effective) {
			if !used[layer.Digest] && p.Severity == SeverityError {
				p = p.WithEffect(Waste)
			}
			v.report(p.On(layer.Digest))
		}
		if !used[layer.Digest] {
			v.report(NewProblem(LayerUnused, where, "").On(layer.Digest))
		}
	}
}

func checkLayer(where string, layer Descriptor) []Problem {
	var problems []Problem
	report := func(kind Kind, detail string) { problems = append(problems, NewProblem(kind, where, detail)) }
	if err := CheckDigest(layer.Digest); err != nil {
		report(DigestInvalid, err.Error())
	}
	if layer.Size <= 0 {
		report(BlobSize, fmt.Sprintf("the descriptor says %d bytes", layer.Size))
	}
	if _, ok := LayerCompression(layer.MediaType); !ok {
		report(LayerMediaTypeBad, fmt.Sprintf("no way to unpack media type %q", layer.MediaType))
	}
	if t, ok := parseLayerType(layer.MediaType); ok && (t.foreign || len(layer.URLs) > 0) {
		report(LayerForeign, "")
	}
	if diffID := layer.DiffID(); diffID == "" {
		report(LayerNoDiffID, "")
	} else if err := CheckDigest(diffID); err != nil {
		report(LayerNoDiffID, "annotation "+AnnotationDiffID+": "+err.Error())
	}
	if _, err := layer.CreatedAt(); err != nil {
		report(LayerCreatedAt, err.Error())
	}
	return problems
}

// checkLinks follows the links between records as BuildKit's parser does, but with an explicit stack: in a hostile config,
// links may go as deep as the config is long.
func (v *validator) checkLinks() {
	const (
		unseen = iota
		open
		done
	)
	state := make([]uint8, len(v.config.Records))
	v.dead = make([]bool, len(v.config.Records))
	type frame struct {
		record int
		links  []int
	}
	for start := range v.config.Records {
		if state[start] != unseen {
			continue
		}
		state[start] = open
		stack := []frame{{start, v.links(start)}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.links) == 0 {
				state[top.record], v.dead[top.record] = done, v.isDead(top.record)
				stack = stack[:len(stack)-1]
				continue
			}
			next := top.links[0]
			top.links = top.links[1:]
			switch state[next] {
			case unseen:
				state[next] = open
				stack = append(stack, frame{next, v.links(next)})
			case open:
				v.report(NewProblem(RecordLoop, recordAt(top.record), fmt.Sprintf("records[%d] and records[%d] depend on each other", top.record, next)))
			}
		}
	}
}

// links returns the records that record i links to, and reports the links that BuildKit rejects.
func (v *validator) links(i int) []int {
	var links []int
	for slot, alternatives := range v.config.Records[i].Inputs {
		if len(alternatives) == 0 {
			v.report(NewProblem(RecordEmptyInput, recordAt(i), fmt.Sprintf("inputs[%d] is empty", slot)))
		}
		for _, input := range alternatives {
			if input.Link < 0 || input.Link >= len(v.config.Records) {
				v.report(NewProblem(RecordLinkRange, recordAt(i), fmt.Sprintf("it links to records[%d] of %d", input.Link, len(v.config.Records))))
				continue
			}
			if v.config.Records[input.Link].isRandom() {
				v.report(NewProblem(RecordRandomLink, recordAt(i), fmt.Sprintf("it links to records[%d]", input.Link)))
			}
			links = append(links, input.Link)
		}
	}
	return links
}

// isDead reports whether nothing can hit record i, because it has no valid cache key or because one of its inputs has no
// alternative that can be hit. The records that it links to must be decided already. What BuildKit rejects is not a reason.
func (v *validator) isDead(i int) bool {
	record := v.config.Records[i]
	if !record.isRandom() && CheckDigest(record.Digest) != nil {
		return true
	}
	canHit := func(input Input) bool { return input.Link < 0 || input.Link >= len(v.dead) || !v.dead[input.Link] }
	return slices.ContainsFunc(record.Inputs, func(alternatives []Input) bool {
		return len(alternatives) > 0 && !slices.ContainsFunc(alternatives, canHit)
	})
}

func recordAt(i int) string { return fmt.Sprintf("config.records[%d]", i) }

// checkResults walks from every result to its layers and returns the blobs that results need.
func (v *validator) checkResults() map[digest.Digest]bool {
	results := 0
	for i, record := range v.config.Records {
		n := len(record.Results) + len(record.Chains)
		if record.isRandom() || n == 0 {
			continue
		}
		results += n
		if v.dead[i] {
			v.report(NewProblem(RecordDigest, recordAt(i), ""))
		}
	}
	chains := newChainWalker(v.config.Layers, v.listed)
	v.usable = make([]bool, len(v.config.Records))
	chains.follow(v.config.Records, func(record, _ int, outcome chainOutcome) {
		v.usable[record] = v.usable[record] || outcome == chainWhole
	})
	chains.follow(v.config.Records, v.reportChain)
	if results == 0 {
		v.report(NewProblem(NoResults, "config", ""))
	}
	return chains.used
}

func (v *validator) reportChain(record, layer int, outcome chainOutcome) {
	switch outcome {
	case chainWhole, chainUnknown:
	case chainOutOfRange:
		v.report(NewProblem(LayerIndexRange, recordAt(record), fmt.Sprintf("its result on layers[%d] leads to no layer (there are %d)", layer, len(v.config.Layers))))
	case chainLoops:
		v.report(NewProblem(LayerLoop, recordAt(record), fmt.Sprintf("the parents of layers[%d] lead in a circle", layer)))
	case chainUnlisted:
		if v.config.Records[record].isRandom() {
			return // nothing is lost
		}
		p := NewProblem(LayerUnlisted, recordAt(record), fmt.Sprintf("layers[%d] or a parent of it is not in the root", layer))
		if v.usable[record] {
			p = p.WithEffect(Waste) // whoever hits the record gets its other result
		}
		v.report(p)
	}
}
