package explain

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
)

// If two steps of one build turn out to have the same key, BuildKit runs one of them and shows the other as cached,
// whatever the cache has. Which one runs depends on whose key is known first.

// doubles finds steps of one build that may have the same key.
type doubles struct {
	*decider
	shapes  shapes
	byShape map[int][]int // steps that may run, by the shapes of their first outputs
	known   map[[2]output]bool
}

// maxPairs is the most pairs of outputs that are compared. Further pairs may be the same: nobody knows.
const maxPairs = 1 << 18

func newDoubles(d *decider) *doubles {
	t := &doubles{decider: d, shapes: newShapes(d.plan), byShape: map[int][]int{}, known: map[[2]output]bool{}}
	for step := range d.plan.steps {
		if t.isComparable(step) && (d.steps[step].verdict == Miss || d.steps[step].verdict == Maybe) {
			shape := t.shape(step)
			t.byShape[shape] = append(t.byShape[shape], step)
		}
	}
	return t
}

func (t *doubles) isComparable(step int) bool {
	return t.plan.current(step) != nil && t.plan.shown(step) && t.plan.Steps[step].Op.Source == nil && len(t.plan.steps[step].outputs) > 0
}

func (t *doubles) shape(step int) int { return t.shapes[output{step, t.plan.steps[step].outputs[0]}] }

// of returns a step that may run instead of one that misses, or -1. There is none for a step that the history has seen run.
func (t *doubles) of(ctx context.Context, step int) (int, error) {
	if cached := t.plan.Steps[step].Cached; cached != nil && !*cached || !t.isComparable(step) {
		return -1, nil
	}
	for _, other := range t.byShape[t.shape(step)] {
		if other == step {
			continue
		}
		same, err := t.same(ctx, output{step, t.plan.steps[step].outputs[0]}, output{other, t.plan.steps[other].outputs[0]})
		if err != nil || same {
			return other, err
		}
	}
	return -1, nil
}

// same reports whether two outputs may have the same key.
func (t *doubles) same(ctx context.Context, a, b output) (bool, error) {
	if a == b {
		return true, nil
	}
	if t.shapes[a] != t.shapes[b] {
		return false, nil
	}
	if b.step < a.step {
		a, b = b, a
	}
	pair := [2]output{a, b}
	same, known := t.known[pair]
	if !known {
		if len(t.known) >= maxPairs {
			return true, nil
		}
		var err error
		if same, err = t.compare(ctx, a, b); err != nil {
			return false, err
		}
		t.known[pair] = same
	}
	return same, nil
}

func (t *doubles) compare(ctx context.Context, a, b output) (bool, error) {
	keyA, keyB := t.plan.current(a.step), t.plan.current(b.step)
	if keyA == nil || keyB == nil || keyA.key.Record(a.output) != keyB.key.Record(b.output) || t.isToldApart(a, b) {
		return false, nil
	}
	inA, inB := t.plan.Steps[a.step].Inputs, t.plan.Steps[b.step].Inputs
	if len(inA) != len(inB) {
		return false, nil
	}
	for i := range inA {
		linked := false
		outA, outB := output{inA[i].Step, inA[i].Output}, output{inB[i].Step, inB[i].Output}
		if keyA.deps[i].Selector == keyB.deps[i].Selector {
			var err error
			if linked, err = t.same(ctx, outA, outB); err != nil {
				return false, err
			}
		}
		if linked {
			continue
		}
		if same, err := t.sameFiles(ctx, outA, outB, keyA, keyB, i); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// isToldApart reports whether two outputs of the same operation are known to be different, by their records in the cache or in
// the one that the build exported.
func (t *doubles) isToldApart(a, b output) bool {
	if t.seen != nil && len(t.seen.found[a]) > 0 && len(t.seen.found[b]) > 0 {
		return !slices.ContainsFunc(t.seen.found[a], func(f match) bool { return t.seen.has(b, f.record) })
	}
	if t.plan.Steps[a.step].IgnoreCache || t.plan.Steps[b.step].IgnoreCache {
		return false
	}
	stateA, stateB := t.states[a], t.states[b]
	if len(stateA.sure) == 0 && len(stateB.sure) == 0 {
		return false
	}
	return !slices.ContainsFunc(stateA.all(), func(r int) bool { return slices.Contains(stateB.all(), r) })
}

// sameFiles reports whether two steps may find an input to have the same files.
func (t *doubles) sameFiles(ctx context.Context, a, b output, keyA, keyB *candidate, input int) (bool, error) {
	if !keyA.deps[input].Content || !keyB.deps[input].Content {
		return false, nil
	}
	filesA, errA := t.contents.of(ctx, a, keyA.deps[input])
	filesB, errB := t.contents.of(ctx, b, keyB.deps[input])
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if errA != nil || errB != nil { // unknown
		return true, nil //nolint:nilerr // which is said
	}
	return slices.ContainsFunc(filesA.records, func(r digest.Digest) bool { return slices.Contains(filesB.records, r) }), nil
}
