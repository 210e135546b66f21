package inspect

import (
	"strings"

	"github.com/ocicache/ocicache/buildcache"
)

// RecordName says what a record stands for, in the words of the build.
type RecordName struct {
	Where string // the file and its lines, such as Dockerfile:5-7; may be empty
	Text  string
	How   string // how that is known; may be empty
}

// String says where the step is, and what it is.
func (n RecordName) String() string { return strings.TrimSpace(n.Where + " " + n.Text) }

// line returns the number of the step's first line, or "" if there is none.
func (n RecordName) line() string {
	lines := n.Where[strings.LastIndexByte(n.Where, ':')+1:]
	first, _, _ := strings.Cut(lines, "-")
	if first == "" || len(first) > 5 || strings.Trim(first, "0123456789") != "" {
		return ""
	}
	return first
}

// nameAt returns the name of a record, or the zero value if it has none.
func nameAt(names []RecordName, record int) RecordName {
	if record < 0 || record >= len(names) {
		return RecordName{}
	}
	return names[record]
}

// layerNames returns the names of the layers that results end in: each has that of its first named record, in the config's
// order.
func (g *graph) layerNames() map[int]RecordName {
	names := map[int]RecordName{}
	take := func(layer, record int) {
		if _, ok := names[layer]; !ok && nameAt(g.Names, record) != (RecordName{}) {
			names[layer] = g.Names[record]
		}
	}
	for i, record := range g.Config.Records {
		for _, r := range record.Results {
			take(r.Layer, i)
		}
		for _, chain := range record.Chains {
			if n := len(chain.Layers); n > 0 {
				take(chain.Layers[n-1], i)
			}
		}
	}
	delete(names, buildcache.NoParent)
	return names
}
