package main

import (
	"context"
	"fmt"

	"github.com/ocicache/ocicache/places"
)

// hiddenNotes says which caches a command skips because another entry with the same tag hides them. match selects tags; nil selects all.
func hiddenNotes(ctx context.Context, from *places.Opened, match func(string) bool) ([]string, error) {
	hidden, err := from.Hidden(ctx)
	var notes []string
	for _, entry := range hidden {
		if match == nil || match(entry.Tag) {
			notes = append(notes, fmt.Sprintf("skipped because another entry of %s has the tag %s too and hides it: %s", from.Source, entry.Tag, entry.Descriptor.Digest))
		}
	}
	return notes, err
}
