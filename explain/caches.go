package explain

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// ChangeKind says what is new about a record of a cache compared with another
// cache. It names nothing: digests alone do not reveal what they are of.
type ChangeKind string

// The kinds of new records.
const (
	NewOperation ChangeKind = "operation" // on records that the other cache has
	NewContent   ChangeKind = "content"   // the operation is there, on the same records, with other files; or first on another base
	NewPlace     ChangeKind = "moved"     // the operation is there, on other records
	NewSource    ChangeKind = "source"    // files or a base that the other cache does not have
	Follows      ChangeKind = "follows"   // it stands on a new record
)

// RecordChange is a record that one cache has and another one does not.
type RecordChange struct {
	Index  int           `json:"index"` // in the second cache
	Digest digest.Digest `json:"digest"`
	Kind   ChangeKind    `json:"kind"`
	// Follows is the record that it stands on if Kind is Follows, else -1.
	Follows int `json:"follows"`
}

// Compared is what two caches have in common and what they do not.
type Compared struct {
	Same int            `json:"same"`       // records of the second cache that the first one has too
	New  []RecordChange `json:"newRecords"` // records that the first one lacks, each after those that it stands on
	Gone int            `json:"gone"`       // records of the first cache that the second one does not have
	// GoneRecords lists them.
	GoneRecords []GoneRecord `json:"goneRecords"`
}

// GoneRecord is a record of the first of two caches that the second one lacks.
type GoneRecord struct {
	Index  int           `json:"index"` // in the first cache
	Digest digest.Digest `json:"digest"`
}

// Differ reports whether one of the caches has a record that the other one
// lacks.
func (c *Compared) Differ() bool { return len(c.New) > 0 || c.Gone > 0 }

// CompareCaches says which records of the second cache the first one lacks, and
// what kind of change each is. It needs no provenance, and names nothing.
func CompareCaches(old, now *layout.Cache) (*Compared, error) {
	was, err := newGraph(old)
	if err != nil {
		return nil, err
	}
	is, err := newGraph(now)
	if err != nil {
		return nil, err
	}
	t := twins{was: was, is: is, found: make([]twin, len(now.Config.Records))}
	for i := range now.Config.Records {
		t.visit(i)
	}
	return t.result(), nil
}

// twins finds, for each record of a cache, the same records in another one.
type twins struct {
	was, is *graph
	found   []twin
	order   []int // each record after those that it stands on
}

type twin struct {
	visited bool
	records []int // in the other cache
}

func (t *twins) visit(record int) {
	if t.found[record].visited {
		return
	}
	t.found[record].visited = true
	r := t.is.config.Records[record]
	for _, slot := range r.Inputs {
		for _, a := range slot {
			t.visit(a.Link)
		}
	}
	for _, other := range t.was.byDigest[r.Digest] {
		if t.missing(record, other) < 0 && len(t.was.config.Records[other].Inputs) == len(r.Inputs) {
			t.found[record].records = append(t.found[record].records, other)
		}
	}
	t.order = append(t.order, record)
}

// missing returns the first input of a record that shares no alternative with the other cache's record, or -1.
func (t *twins) missing(record, other int) int {
	theirs := t.was.config.Records[other].Inputs
	for i, slot := range t.is.config.Records[record].Inputs {
		if i >= len(theirs) || !t.meet(slot, theirs[i]) {
			return i
		}
	}
	return -1
}

func (t *twins) meet(slot, theirs []alternative) bool {
	return slices.ContainsFunc(slot, func(a alternative) bool {
		return slices.ContainsFunc(theirs, func(b alternative) bool {
			return a.Selector == b.Selector && slices.Contains(t.found[a.Link].records, b.Link)
		})
	})
}

func (t *twins) result() *Compared {
	c := &Compared{New: []RecordChange{}, GoneRecords: []GoneRecord{}}
	kept := map[int]bool{}
	for _, i := range t.order {
		if len(t.found[i].records) > 0 {
			c.Same++
			for _, other := range t.found[i].records {
				kept[other] = true
			}
			continue
		}
		kind, follows := t.kindOf(i)
		c.New = append(c.New, RecordChange{Index: i, Digest: t.is.config.Records[i].Digest, Kind: kind, Follows: follows})
	}
	for i, r := range t.was.config.Records {
		if !kept[i] {
			c.GoneRecords = append(c.GoneRecords, GoneRecord{i, r.Digest})
		}
	}
	c.Gone = len(c.GoneRecords)
	return c
}

func (t *twins) kindOf(record int) (ChangeKind, int) {
	r := t.is.config.Records[record]
	if len(r.Inputs) == 0 {
		return NewSource, -1
	}
	for _, slot := range r.Inputs {
		if follows, ok := t.newBelow(slot); ok {
			return Follows, follows
		}
	}
	same := t.was.byDigest[r.Digest]
	switch {
	case len(same) == 0:
		return NewOperation, -1
	case slices.ContainsFunc(same, func(other int) bool { return t.differsInContent(record, other) }):
		return NewContent, -1
	default:
		return NewPlace, -1
	}
}

// newBelow returns a record with inputs of its own that an input stands on, if all alternatives other than contents are new.
func (t *twins) newBelow(slot []alternative) (int, bool) {
	follows := -1
	for _, a := range slot {
		switch {
		case len(t.found[a.Link].records) > 0:
			return -1, false
		case !t.is.isLeaf(a.Link):
			follows = a.Link
		}
	}
	return follows, follows >= 0
}

// differsInContent reports whether two records differ only in inputs that are leaves: files, or sources.
func (t *twins) differsInContent(record, other int) bool {
	theirs := t.was.config.Records[other].Inputs
	slots := t.is.config.Records[record].Inputs
	if len(theirs) != len(slots) {
		return false
	}
	differs := false
	for i, slot := range slots {
		if t.meet(slot, theirs[i]) {
			continue
		}
		differs = true
		if !slices.ContainsFunc(slot, func(a alternative) bool { return t.is.isLeaf(a.Link) }) {
			return false
		}
	}
	return differs
}
