package buildcache

import (
	"cmp"
	"slices"
)

func diffRecords(a, b *side) RecordDifference {
	d := RecordDifference{Gone: []RecordAt{}, New: []RecordAt{}, Changed: []RecordChange{}}
	for _, record := range a.sortedByIdentity() {
		other, ok := b.records[record.id]
		if !ok {
			d.Gone = append(d.Gone, record.at())
		} else if change := compareResults(a, b, record.best, other.best); change != "" {
			d.Changed = append(d.Changed, RecordChange{record.at(), other.at(), change})
		}
	}
	for _, record := range b.sortedByIdentity() {
		if _, ok := a.records[record.id]; !ok {
			d.New = append(d.New, record.at())
		}
	}
	return d
}

func (r *mergedRecord) at() RecordAt { return RecordAt{r.digest, r.index} }

func (m *merger) sortedByIdentity() []*mergedRecord {
	records := make([]*mergedRecord, 0, len(m.records))
	for _, record := range m.records {
		records = append(records, record)
	}
	slices.SortFunc(records, func(a, b *mergedRecord) int { return cmp.Or(cmp.Compare(a.digest, b.digest), a.id.compare(b.id)) })
	return records
}

// compareResults returns how a result in A and one in B differ, or "" if they do not.
func compareResults(a, b *side, inA, inB *result) ResultChange {
	switch {
	case inA == nil && inB == nil:
		return ""
	case inA == nil:
		return ResultNew
	case inB == nil:
		return ResultGone
	case a.places[inA.top] != b.places[inB.top]:
		return ResultContent
	case inA.top != inB.top:
		return ResultRecompressed
	case !inA.createdAt.Equal(inB.createdAt.Time):
		return ResultCreatedAt
	}
	return ""
}
