package main

import (
	"fmt"
	"io"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
)

// alikeRepairs collects repairs of one kind, in the order of their first ones.
func alikeRepairs(repairs []convert.Repair) (all [][]convert.Repair) {
	at := map[convert.RepairKind]int{}
	for _, done := range repairs {
		i, ok := at[done.Kind]
		if !ok {
			i = len(all)
			at[done.Kind] = i
			all = append(all, nil)
		}
		all[i] = append(all[i], done)
	}
	return all
}

// renderRepairs writes repairs of one kind. If there are many, it writes how many and the first few.
func renderRepairs(w io.Writer, alike []convert.Repair) {
	shown, kind := alike, string(alike[0].Kind)
	isCut := len(alike) > shownAlike
	if isCut {
		shown, kind = alike[:shownAlike], fmt.Sprintf("%s, %d times", kind, len(alike))
	}
	for i, done := range shown {
		if !isCut || i == 0 || done.What != shown[i-1].What {
			say(w, "  %s: %s\n", kind, done.What)
		}
		if done.Digest != "" {
			say(w, "    blob: %s\n", done.Digest)
		}
	}
	if isCut {
		say(w, "    and %d more; --json lists each of them\n", len(alike)-len(shown))
	}
}

// renderLeft writes problems of one kind that stay.
func renderLeft(w io.Writer, alike []buildcache.Problem) {
	shown, more := alike, ""
	if len(alike) > shownAlike {
		shown, more = alike[:1], fmt.Sprintf(" and %d more, which --json lists", len(alike)-1)
	}
	for _, p := range shown {
		say(w, "  can't be repaired: %s: %s%s: %s\n", p.Kind, p.Where, more, p.Detail)
	}
}
