package explain

import (
	"maps"
	"slices"

	"github.com/ocicache/ocicache/explain/llb"
)

// Difference is one field in which two operations differ. A side that lacks it
// is nil.
type Difference struct {
	Field string  `json:"field"`
	Old   *string `json:"old,omitempty"`
	New   *string `json:"new,omitempty"`

	word    string // the field's name in a Dockerfile, if known
	address string // of a new host
}

// diffFields compares operations field by field, in the order of the fields' names.
func diffFields(before, now map[string]string) []Difference {
	names := map[string]bool{}
	for name := range before {
		names[name] = true
	}
	for name := range now {
		names[name] = true
	}
	var all []Difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		x, hadX := before[name]
		y, hasY := now[name]
		if hadX == hasY && x == y {
			continue
		}
		d := Difference{Field: name}
		if hadX {
			d.Old = &x
		}
		if hasY {
			d.New = &y
		}
		all = append(all, d)
	}
	if len(all) > 1 { // adding or removing a variable changes the order too, which says nothing new
		all = slices.DeleteFunc(all, func(d Difference) bool { return d.Field == llb.EnvOrder })
	}
	return all
}
