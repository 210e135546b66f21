package buildcache

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// uniteExtra returns the members of both, sorted by name. Where they disagree, the greater JSON text wins, so that neither
// order nor repetition matters.
func uniteExtra(a, b Extra) Extra {
	if len(a)+len(b) == 0 {
		return nil
	}
	all := make(Extra, 0, len(a)+len(b))
	for _, m := range slices.Concat(a, b) {
		all = append(all, m.compact())
	}
	slices.SortFunc(all, compareMembers)
	var united Extra
	for i, m := range all {
		if i+1 == len(all) || all[i+1].Name != m.Name {
			united = append(united, m) // the greatest with its name
		}
	}
	return united
}

// gathered is an Extra to which others are added. However many they are, it takes n log n.
type gathered struct {
	all   Extra
	limit int
}

func (g *gathered) add(extra Extra) {
	g.all = append(g.all, extra...)
	if len(g.all) > g.limit {
		g.all = uniteExtra(g.all, nil)
		g.limit = 2*len(g.all) + 16
	}
}

func (g *gathered) extra() Extra { return uniteExtra(g.all, nil) }

// commonExtra returns the members that both have with the same value.
func commonExtra(a, b Extra) Extra {
	a, b = uniteExtra(a, nil), uniteExtra(b, nil)
	return slices.DeleteFunc(a, func(m Member) bool {
		_, found := slices.BinarySearchFunc(b, m, compareMembers)
		return !found
	})
}

func compareMembers(a, b Member) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), bytes.Compare(a.Value, b.Value))
}

// compact returns the member with its value as it will be written. A value that is not JSON stays, for MarshalJSON to refuse.
func (m Member) compact() Member {
	if value, err := json.Marshal(m.Value); err == nil {
		m.Value = value
	}
	return m
}

// uniteStrings returns the entries of both maps. Where they disagree, the greater value wins.
func uniteStrings(a, b map[string]string) map[string]string {
	if len(a)+len(b) == 0 {
		return nil
	}
	united := make(map[string]string, len(a)+len(b))
	for _, from := range []map[string]string{a, b} {
		for name, value := range from {
			if old, ok := united[name]; !ok || value > old {
				united[name] = value
			}
		}
	}
	return united
}

// uniteAnnotations returns what both say about a layer, without unknown members. Where they disagree, the greater value wins.
// No importer reads these annotations in a cache that has a root.
func uniteAnnotations(a, b *LayerAnnotations) *LayerAnnotations {
	switch {
	case a == nil && b == nil:
		return nil
	case a == nil:
		a = b
	case b == nil:
		b = a
	}
	return &LayerAnnotations{
		MediaType: max(a.MediaType, b.MediaType),
		DiffID:    max(a.DiffID, b.DiffID),
		Size:      max(a.Size, b.Size),
		CreatedAt: laterTime(a.CreatedAt, b.CreatedAt),
	}
}

// laterTime returns the later time. If both are the same point in time, it returns the one with the lesser text.
func laterTime(a, b Time) Time {
	if order := a.Compare(b.Time); order > 0 || order == 0 && a.asText() <= b.asText() {
		return a
	}
	return b
}

// asText returns the text that is written for the time, or "" if it can't be written.
func (t Time) asText() string {
	raw, err := t.MarshalJSON()
	if err != nil {
		return ""
	}
	return string(raw)
}
