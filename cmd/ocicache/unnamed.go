package main

import (
	"fmt"
	"io"
	"time"

	"github.com/ocicache/ocicache/layout"
)

// shownUnnamed is how many untagged caches are shown.
const shownUnnamed = 12

// renderUnnamed lists the complete caches in a directory that no entry leads to, and how to keep one. fate says what will happen
// to them otherwise.
func renderUnnamed(w io.Writer, path string, caches []layout.UnnamedCache, fate string) {
	if len(caches) == 0 {
		return
	}
	listUnnamed(w, fate, caches)
	say(w, "    to keep one:\n")
	sayCommand(w, "    "+tagCommand(path, caches[0].Digest))
}

// renderUntaggable is renderUnnamed while index.json can't be read: no tag can be given before it is repaired, and the repair then lists
// what has none.
func renderUntaggable(w io.Writer, path string, caches []layout.UnnamedCache) {
	if len(caches) == 0 {
		return
	}
	listUnnamed(w, "", caches)
	say(w, "    to keep one, repair index.json first:\n")
	sayCommand(w, "    ocicache repair "+pathArgument(path)+" --write")
}

// listUnnamed lists the first of them.
func listUnnamed(w io.Writer, fate string, caches []layout.UnnamedCache) {
	say(w, "  complete caches without a tag%s:\n", fate)
	for i, cache := range caches {
		if i == shownUnnamed {
			say(w, "    and %d more, listed with --json\n", len(caches)-shownUnnamed)
			break
		}
		say(w, "    %s\n", describeUnnamed(cache))
	}
}

// describeUnnamed says what is in an untagged cache.
func describeUnnamed(c layout.UnnamedCache) string {
	text := fmt.Sprintf("%s (%s, %s", c.Digest, c.Form, count(c.Records, "record"))
	if c.Newest != nil {
		text += ", newest result " + c.Newest.Format(time.RFC3339)
	}
	return text + ")"
}
