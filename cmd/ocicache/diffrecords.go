package main

import (
	"fmt"
	"slices"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain"
)

// diffRecords are the records that differ, with what they stand for.
type diffRecords struct {
	Gone    []diffRecord       `json:"gone"`    // in A only
	New     []diffRecord       `json:"new"`     // in B only
	Changed []diffRecordChange `json:"changed"` // in both, with other results
}

type diffRecord struct {
	buildcache.RecordAt
	*explain.Naming `json:",omitempty"`
}

type diffRecordChange struct {
	buildcache.RecordChange
	*explain.Naming `json:",omitempty"`
}

// take fills in the result from a difference.
func (r *diffResult) take(d *buildcache.Difference) {
	r.difference, r.Same, r.Counts = d, d.Same(), countsOf(d)
	r.Layers, r.ToA, r.ToB = d.Layers, d.ToA, d.ToB
	r.Records = diffRecords{Gone: r.A.records(d.Records.Gone), New: r.B.records(d.Records.New), Changed: []diffRecordChange{}}
	for _, c := range d.Records.Changed {
		r.Records.Changed = append(r.Records.Changed, diffRecordChange{c, r.B.named.Records[c.B.Index].Naming})
	}
	for _, warning := range r.A.named.Warnings {
		if slices.Contains(r.B.named.Warnings, warning) {
			r.Warnings = append(r.Warnings, warning)
		}
	}
}

// records returns records of one side with their names.
func (s *diffSide) records(at []buildcache.RecordAt) []diffRecord {
	all := make([]diffRecord, len(at))
	for i, r := range at {
		all[i] = diffRecord{r, s.named.Records[r.Index].Naming}
	}
	return all
}

func (r diffRecord) text() string {
	return withStep(fmt.Sprintf("%s\trecords[%d]", short(r.Digest), r.Index), r.Naming)
}

// withStep appends to a line the step that a record stands for, if known.
func withStep(line string, n *explain.Naming) string {
	if n == nil {
		return line
	}
	return line + "\t" + stepOf(n)
}
