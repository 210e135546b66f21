package migrate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/layout"
)

// takeRuns takes in what runs say about themselves.
func (r *Report) takeRuns(runs []RunLines) {
	last, whole := map[string]RunLines{}, map[string]RunLines{}
	keep := func(in map[string]RunLines, run RunLines) {
		if before, ok := in[run.of()]; !ok || before.at.compare(run.at) < 0 {
			in[run.of()] = run
		}
	}
	for _, run := range runs {
		if keep(last, run); run.isWhole() {
			keep(whole, run)
		}
	}
	for of, run := range last {
		all, ok := whole[of]
		if run.Args != nil && (run.leaves() || all.End == nil) {
			r.Again = append(r.Again, run.Args)
		}
		switch {
		case run.End == nil && run.Cut != nil, run.End != nil && ok && all.Cut != nil:
			r.takeCut(all, run)
		case run.End == nil, !ok, all.End == nil:
			r.Unended++
		case run.isWhole():
			r.Remaining += run.End.Left
		}
	}
	slices.SortFunc(r.Again, slices.Compare)
	r.takeShards(last)
	r.Worked = worked(runs)
}

// leaves reports whether a run did not end, or said that something is left.
func (run RunLines) leaves() bool { return run.End == nil || run.End.Left > 0 }

// takeCut takes in what the last run of a whole shard said when it was interrupted, or else the last run of any kind.
func (r *Report) takeCut(runs ...RunLines) {
	r.Cut++
	for _, run := range runs {
		if run.Cut == nil {
			continue
		}
		r.Remaining += run.Cut.Left
		r.NotReached += run.Cut.NotTried
		r.CutOff = latest(r.CutOff, run.Cut.Time)
		return
	}
}

// takeShards counts the shards, as the plan was last divided.
func (r *Report) takeShards(last map[string]RunLines) {
	var newest RunLines
	seen := map[int]int{}
	for _, run := range last {
		if run.Shard == "" {
			return
		}
		seen[shardsOf(run.Shard)]++
		if c := newest.at.compare(run.at); newest.Shard == "" || c < 0 || c == 0 && shardsOf(newest.Shard) < shardsOf(run.Shard) {
			newest = run
		}
	}
	if of := shardsOf(newest.Shard); of > 0 {
		r.Shards, r.ShardsSeen = of, seen[of]
		if r.ShardsSeen == 1 {
			r.shard = newest.Shard
		}
	}
}

// shardsOf returns how many shards there are if one has this name.
func shardsOf(name string) int {
	shard, err := ParseShard(name, "")
	if err != nil {
		return 0
	}
	return shard.Of
}

// worked returns how long at least one of the runs was at work.
func worked(runs []RunLines) layout.Seconds {
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b RunLines) int { return a.Time.Compare(b.Time) })
	var sum time.Duration
	var until time.Time
	for _, run := range runs {
		begun := latest(run.Time, until)
		if run.Last.After(begun) {
			sum += run.Last.Sub(begun)
			until = run.Last
		}
	}
	return layout.Seconds(sum)
}

// ToDo returns how much is known not to be at its target.
func (r *Report) ToDo() int {
	return max(r.Left(), r.Remaining)
}

// left puts ToDo into words: caches and sources, if they can be told apart.
func (r *Report) left() string {
	left := r.ToDo()
	caches := left - r.Sources
	switch {
	case left == 0:
		return ""
	case r.Sources == 0 || r.Remaining > r.Left():
		return fmt.Sprintf("%d left", left)
	case caches == 0:
		return english.Plural(r.Sources, "source", "") + " left"
	}
	return fmt.Sprintf("%s and %s left", english.Plural(caches, "cache", ""), english.Plural(r.Sources, "source", ""))
}

// isComplete reports whether everything is there according to the state.
func (r *Report) isComplete() bool { return r.ToDo() == 0 && len(r.Doubts()) == 0 }

// Doubts says why there may be more to do than ToDo tells.
func (r *Report) Doubts() []string {
	var doubts []string
	switch {
	case r.Runs == 0:
		doubts = append(doubts, "no run is in it")
	case r.Unended == 1:
		doubts = append(doubts, "the last run did not end")
	case r.Unended > 1:
		doubts = append(doubts, fmt.Sprintf("%d runs did not end", r.Unended))
	}
	if r.Cut > 0 {
		what := "the last run was interrupted"
		if r.Cut > 1 {
			what = fmt.Sprintf("%d runs were interrupted, the last", r.Cut)
		}
		what += " at " + r.CutOff.UTC().Format(time.DateTime+"Z")
		if r.NotReached > 0 {
			what += fmt.Sprintf(", before it came to %s that it knew of", english.Plural(r.NotReached, "cache", ""))
		}
		doubts = append(doubts, what)
	}
	switch {
	case r.ShardsSeen == 1 && r.Shards > 1:
		doubts = append(doubts, "shard "+r.shard+" only")
	case r.ShardsSeen < r.Shards:
		doubts = append(doubts, fmt.Sprintf("%d of %s only", r.ShardsSeen, english.Plural(r.Shards, "shard", "")))
	}
	return doubts
}

// Headline says in a few words whether everything is there.
func (r *Report) Headline() string {
	doubts := r.Doubts()
	if left := r.left(); left != "" && len(doubts) > 0 {
		doubts = append([]string{"at least " + left}, doubts...)
	} else if left != "" {
		doubts = []string{left}
	}
	if len(doubts) == 0 {
		return "everything is there, by the state"
	}
	return strings.Join(doubts, "; ")
}
