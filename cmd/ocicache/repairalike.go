package main

import (
	"io"
	"slices"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
)

// renderRepairs writes repairs of one kind: of many only the first few, and how many there are.
func renderRepairs(w io.Writer, alike []convert.Repair) {
	shown := alike[:min(len(alike), shownAlike)]
	more := len(alike) - len(shown)
	same := more > 0 && !slices.ContainsFunc(alike, func(done convert.Repair) bool { return done.What != alike[0].What })
	if same {
		say(w, "  %s, %d times: %s\n", alike[0].Kind, len(alike), alike[0].What)
	}
	for _, done := range shown {
		if !same {
			say(w, "  %s: %s\n", done.Kind, done.What)
		}
		if done.Digest != "" {
			say(w, "    blob: %s\n", done.Digest)
		}
	}
	renderMore(w, more)
}

// renderLeft writes problems of one kind that stay: of many only the first few, and how many there are.
func renderLeft(w io.Writer, alike []buildcache.Problem) {
	shown := alike[:min(len(alike), shownAlike)]
	for _, p := range shown {
		say(w, "  can't be repaired: %s: %s: %s\n", p.Kind, p.Where, p.Detail)
	}
	renderMore(w, len(alike)-len(shown))
}

func renderMore(w io.Writer, more int) {
	if more > 0 {
		say(w, "    and %d more of this kind; --json lists each of them\n", more)
	}
}
