package main

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/inspect"
)

// keepsAll returns how many roots the listed tags have if --keep keeps them all and there are more tags than roots, else 0.
func (c rmChoice) keepsAll(listed []inspect.Listed) int {
	roots := map[digest.Digest]bool{}
	for _, l := range listed {
		roots[l.Digest] = true
	}
	if c.keep < len(roots) || len(roots) == len(listed) {
		return 0
	}
	return len(roots)
}

// olderThanNewest drops the newest caches, with all of their tags, from a list sorted by age.
func olderThanNewest(listed []inspect.Listed, keep int) []inspect.Listed {
	kept := map[digest.Digest]bool{}
	for _, l := range slices.Backward(listed) {
		if len(kept) < keep {
			kept[l.Digest] = true
		}
	}
	return slices.DeleteFunc(listed, func(l inspect.Listed) bool { return kept[l.Digest] })
}
