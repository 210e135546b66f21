package convert

import (
	"context"

	"github.com/ocicache/ocicache/layout"
)

// preview says what a plan would do.
func (j *job) preview(ctx context.Context) (*Result, error) {
	if err := j.expect(ctx); err != nil {
		return nil, err
	}
	result := newResult(j)
	result.DryRun = true
	for _, s := range j.plan.steps {
		if s.action == Recompress { // the new digests can't be known
			return result, j.estimate(result)
		}
	}
	converted, err := j.assembled()
	if err != nil {
		return nil, err
	}
	result.To = describe(converted)
	result.noteWas(j, false)
	result.note(converted, j.o)
	return result, nil
}

// estimate notes whether it can't be known what the rules will leave.
func (j *job) estimate(result *Result) error {
	if result.Pruned == nil {
		return nil
	}
	less, err := j.o.mayFitLess(j.cache, j.plan)
	result.Pruned.Estimated = less
	return err
}

// expect finds out which of the unchanged layers the execution would write, and the sizes of those that would be recompressed.
// What these become can't be known.
func (j *job) expect(ctx context.Context) error {
	for i := range j.plan.steps {
		s := &j.plan.steps[i]
		if s.action == Recompress && !j.o.promised.make(s.from.Digest) {
			s.foreseen = s.from.Size
		}
		if s.action != Keep || j.inPlace {
			continue
		}
		has := j.o.promised.make(s.from.Digest)
		if j.dst != nil && !has {
			var err error
			if has, err = j.dst.Has(ctx, s.from); err != nil {
				return err
			}
		}
		if !has {
			s.moved = s.from.Size
		}
	}
	return nil
}

// checkRoom fails if the unchanged layers certainly don't fit on the destination's disk, before anything is read in bulk. What other
// layers become is unknown.
func (j *job) checkRoom(ctx context.Context) error {
	dst, ok := j.dst.(layout.Roomy)
	if !ok || j.inPlace {
		return nil
	}
	var need int64
	for _, s := range j.plan.steps {
		if s.action != Keep {
			continue
		}
		has, err := j.dst.Has(ctx, s.from)
		if err != nil {
			return err
		}
		if !has {
			need += s.from.Size
		}
	}
	return dst.CheckRoom(j.src, need)
}
