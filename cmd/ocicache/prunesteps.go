package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/layout"
)

// prunedCache is what happened to a cache, and to its steps if they have names.
type prunedCache struct {
	*convert.PruneResult
	Steps *prunedSteps `json:"steps,omitempty"`
}

// prunedSteps are the records that a cache had, in its order.
type prunedSteps struct {
	Records  []prunedRecord `json:"records"`
	Warnings []string       `json:"warnings,omitempty"`

	inOrder []prunedRecord
}

// prunedRecord is a record with what is left of it.
type prunedRecord struct {
	explain.NamedRecord
	Left int  `json:"left"` // of its results
	Gone bool `json:"gone"` // the record itself
}

// pruneNames names what is dropped from caches and what stays.
type pruneNames struct {
	*namer
	steps map[digest.Digest]*prunedSteps // by the old root
}

// pruneNames reads the builds; it returns nil if none are given.
func (a *app) pruneNames(ctx context.Context, flags *pruneFlags, text string) (*pruneNames, error) {
	if err := flags.naming.check(); err != nil || !flags.naming.given() {
		return nil, err
	}
	if err := flags.access.checkAll(append([]string{text}, flags.naming.provenance...)); err != nil {
		return nil, err
	}
	namer, err := a.namer(ctx, &flags.naming, flags.access)
	return &pruneNames{namer, map[digest.Digest]*prunedSteps{}}, err
}

// explain returns the function to call for each cache.
func (n *pruneNames) explain() func(context.Context, *layout.Cache, []int) error {
	if n == nil {
		return nil
	}
	return n.take
}

func (n *pruneNames) take(ctx context.Context, cache *layout.Cache, left []int) error {
	named, err := n.name(ctx, cache)
	if err != nil {
		return err
	}
	of := func(records []explain.NamedRecord) []prunedRecord {
		all := make([]prunedRecord, len(records))
		for i, r := range records {
			all[i] = prunedRecord{r, max(left[r.Index], 0), left[r.Index] < 0}
		}
		return all
	}
	n.steps[cache.Entry.Descriptor.Digest] = &prunedSteps{of(named.Records), named.Warnings, of(named.InOrder())}
	return nil
}

// addTo adds the steps to the result.
func (n *pruneNames) addTo(result *pruneResult) {
	if n == nil {
		return
	}
	for i := range result.Caches {
		if c := &result.Caches[i]; c.Err == nil {
			c.Steps = n.steps[c.From.Digest]
		}
	}
}

// renderSteps says which steps lose results, and which keep them.
func (c prunedCache) renderSteps(w io.Writer) error {
	if c.Steps == nil {
		return nil
	}
	for _, warning := range c.Steps.Warnings {
		say(w, "  warning: %s\n", warning)
	}
	return tableOf(w, columns{drop: []string{"record", "results"}, cut: "step"}, func(w io.Writer) {
		sayRow(w, "result", "where", "step", "record", "results")
		for _, r := range c.Steps.inOrder {
			if r.Results == 0 {
				continue
			}
			say(w, "  %s\t%s\t%s\t[%d]\t%s\n", r.becomes(), cmp.Or(r.Where, "-"), namesOf(r.Naming), r.Index, r.resultsText())
		}
	})
}

// becomes says what happens to the results of a record.
func (r prunedRecord) becomes() string {
	if r.Left == 0 {
		return "goes"
	}
	return "stays"
}

func (r prunedRecord) resultsText() string {
	if r.Left > 0 && r.Left < r.Results {
		return fmt.Sprintf("%d, %d kept", r.Results, r.Left)
	}
	return fmt.Sprint(r.Results)
}
