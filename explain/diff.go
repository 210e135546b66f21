package explain

import (
	"maps"
	"slices"

	"github.com/ocicache/ocicache/explain/llb"
)

// Difference is one thing in which two operations differ. A side that does not
// have it is nil.
type Difference struct {
	Field string  `json:"field"`
	Old   *string `json:"old,omitempty"`
	New   *string `json:"new,omitempty"`

	word    string // what the field is called, if that is known
	address string // of a host that is new
}

// diffFields compares operations field by field, in the order of names.
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
	if len(all) > 1 { // a variable more or less changes the order, which says nothing new
		all = slices.DeleteFunc(all, func(d Difference) bool { return d.Field == llb.EnvOrder })
	}
	return all
}
