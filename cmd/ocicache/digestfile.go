package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/layout"
)

// checkDigestFile fails if the file could not be written at the end, or if it is inside one of the places in use or would replace
// part of one.
func (f *transferFlags) checkDigestFile(refs ...layout.Reference) error {
	if f.digestFile == "" {
		return nil
	}
	for _, ref := range refs {
		if ref.IsLocal() && layout.IsWithin(f.digestFile, ref.Path) {
			return &usageError{fmt.Errorf("--digestfile %s is inside %s, which this command is using", f.digestFile, ref)}
		}
	}
	return checkParent(f.digestFile)
}

// checkDigestFileIn fails if the file is part of an open place, such as one of several volumes or a base.
func (f *transferFlags) checkDigestFileIn(place layout.Source) error {
	occupier, ok := place.(layout.Occupier)
	if f.digestFile == "" || !ok || !occupier.Occupies(f.digestFile) {
		return nil
	}
	return &usageError{fmt.Errorf("--digestfile %s is inside %s, which this command is using", f.digestFile, place)}
}

// writeDigests writes the file of --digestfile as skopeo does: only the digests, one per line, with no newline at the end. It replaces an
// existing file. A dry run writes none.
func (f *transferFlags) writeDigests(ctx context.Context, lines ...string) error {
	if f.digestFile == "" || f.dryRun {
		return nil
	}
	err := durable.Output{Path: f.digestFile}.Write(ctx, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(lines, "\n"))
		return err
	})
	if err != nil {
		return fmt.Errorf("write the digest to %s: %w", f.digestFile, err)
	}
	return nil
}
