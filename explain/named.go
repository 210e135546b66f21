package explain

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/layout"
)

// Naming is what a record stands for, in words.
type Naming struct {
	Kind  Kind     `json:"kind"`
	Names []string `json:"names"`
	Where string   `json:"where,omitempty"`
	How   How      `json:"how,omitempty"`
	// Before is the first version that makes a different key for the same step.
	Before  string `json:"before,omitempty"`
	Differs bool   `json:"differs,omitempty"`
	// Absent are paths that the given directory lacks.
	Absent []string `json:"absent,omitempty"`
	// Platforms are those of the builds with the step, if the builds are for several platforms.
	Platforms []string `json:"platforms,omitempty"`
}

// NamedRecord is a record with its name, results and layers.
type NamedRecord struct {
	Index  int           `json:"index"`
	Digest digest.Digest `json:"digest"`
	// Naming is nil if no builds were given.
	*Naming `json:",omitempty"`
	Results int        `json:"results"`
	Newest  *time.Time `json:"newest,omitempty"` // of the results
	Layers  int        `json:"layers"`           // of the newest result
	Bytes   int64      `json:"bytes"`            // of all these layers
	Added   int64      `json:"added"`            // of the uppermost of them
	Layer   *int       `json:"layer,omitempty"`  // the uppermost of them, in the config's list
}

// Named is what the records of a cache stand for.
type Named struct {
	Records []NamedRecord `json:"records"` // in the cache's order
	// Warnings say which of the builds have nothing to do with the cache.
	Warnings []string `json:"warnings,omitempty"`

	order []int
}

// NameInWords says in words what every record of a cache stands for, as NewReport does. It is for results about something other
// than the build, and reads no layers. Without builds, no record has a name.
func NameInWords(ctx context.Context, c *layout.Cache, builds []*provenance.Build, redact bool) (*Named, error) {
	records, err := NameRecords(ctx, c, builds, Options{})
	if err != nil {
		return nil, err
	}
	named := &Named{Records: make([]NamedRecord, len(records)), order: orderOf(records, builds)}
	for i, r := range records {
		named.Records[i] = r.inWords(builds, redact)
	}
	if len(builds) > 0 {
		g, err := newGraph(c)
		if err != nil {
			return nil, err
		}
		named.Warnings = g.strangerWarnings(records, builds, nil)
	}
	return named, nil
}

// InOrder returns the records in the order of the builds' lines, those without names last.
func (n *Named) InOrder() []NamedRecord {
	sorted := make([]NamedRecord, len(n.order))
	for i, at := range n.order {
		sorted[i] = n.Records[at]
	}
	return sorted
}

// orderOf returns the indexes of records in the order of the builds' lines. What a step takes comes before the step.
func orderOf(records []Record, builds []*provenance.Build) []int {
	lines := make([][]int, len(builds))
	for i, b := range builds {
		lines[i] = (&words{build: b}).lineOrder()
	}
	compare := func(i, j int) int {
		a, b := records[i].Names, records[j].Names
		if len(a) == 0 || len(b) == 0 {
			return cmp.Or(cmp.Compare(len(b), len(a)), i-j)
		}
		x, y := a[0], b[0]
		return cmp.Or(x.Build-y.Build, lines[x.Build][x.taker()]-lines[y.Build][y.taker()], y.User-x.User, i-j)
	}
	order := make([]int, len(records))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, compare)
	return order
}

// taker returns the step whose line a name belongs to: for a content, the one that takes the files.
func (n Name) taker() int {
	if n.User >= 0 {
		return n.User
	}
	return n.Step
}

func (r *Record) inWords(builds []*provenance.Build, redact bool) NamedRecord {
	named := NamedRecord{Index: r.Index, Digest: r.Digest, Results: r.Results, Layers: r.Layers, Bytes: r.Bytes, Added: r.Added}
	if len(builds) > 0 {
		naming := r.naming(builds, redact)
		named.Naming = &naming
	}
	if !r.Newest.IsZero() {
		named.Newest = &r.Newest
	}
	if r.Layer >= 0 {
		named.Layer = &r.Layer
	}
	return named
}

// naming says what a record stands for.
func (r *Record) naming(builds []*provenance.Build, redact bool) Naming {
	hide := words{redact: redact}
	several := slices.ContainsFunc(builds, func(b *provenance.Build) bool { return platformOf(b) != platformOf(builds[0]) })
	naming := Naming{Kind: r.Kind, Names: []string{}, Differs: r.Differs, Absent: hide.shown(r.Absent)}
	for _, name := range r.Names {
		w := words{build: builds[name.Build], redact: redact}
		text := w.title(name.Step)
		if name.User >= 0 {
			text = w.contentTitle(name)
		}
		if !slices.Contains(naming.Names, text) {
			naming.Names = append(naming.Names, text)
		}
		if p := platformOf(w.build); several && !slices.Contains(naming.Platforms, p) {
			naming.Platforms = append(naming.Platforms, p)
		}
		if naming.Where == "" {
			naming.Where = w.where(name.taker())
		}
		if naming.How == "" || naming.How == ByPosition {
			naming.How = name.How
		}
		if name.Form != llb.FormV17 {
			naming.Before = name.Form.Before()
		}
	}
	return naming
}
