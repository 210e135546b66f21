package main

import (
	"context"
	"fmt"
	"io"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// packResult is what pack writes with --json.
type packResult struct {
	*archive.PackResult
	// SizeUnknown says of a dry run that layers would be recompressed, so digests and sizes can't be known.
	SizeUnknown bool `json:"sizeUnknown,omitempty"`
	// PassedOver is how many images next to the caches were not asked for.
	PassedOver int `json:"passedOver,omitempty"`
	// Conversions say what was changed on the way.
	Conversions []*convert.Result `json:"conversions,omitempty"`

	name string
}

// run packs, and converts caches on the way if asked to.
func (j *packJob) run(ctx context.Context) (*packResult, error) {
	result := &packResult{name: j.target.File, PassedOver: j.passedOver}
	if j.target.Stream != nil {
		result.name = "standard output"
	}
	if j.changes && j.options.DryRun {
		if err := result.preview(ctx, j); err != nil || result.SizeUnknown {
			return result, err
		}
	}
	if j.changes {
		result.Conversions = nil
		j.options.Change = func(ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place) (layout.Entry, error) {
			if entry.Kind.IsImage() {
				return entry, nil
			}
			done, err := convert.Convert(ctx, src, entry, dst, entry.Tag, j.change)
			if err != nil {
				return entry, err
			}
			result.Conversions = append(result.Conversions, done)
			return done.Entry(), nil
		}
	}
	var err error
	result.PackResult, err = archive.Pack(ctx, j.roots, j.target, j.options)
	return result, err
}

// preview says what would be converted. If layers would be recompressed, nothing more can be known.
func (r *packResult) preview(ctx context.Context, j *packJob) error {
	var err error
	// The archive's size, and so how it is split, would differ from that of what is there now.
	r.PackResult, err = archive.Pack(ctx, j.roots, archive.Target{Stream: io.Discard}, archive.PackOptions{DryRun: true})
	if err == nil && j.target.Stream == nil {
		sources := make([]layout.Source, len(j.roots))
		for i, root := range j.roots {
			sources[i] = root.Source
		}
		err = archive.CheckTarget(ctx, j.target.File, j.options, sources...)
	}
	if err != nil {
		return err
	}
	if j.target.Stream == nil {
		r.Files = []string{j.target.File}
	}
	options := j.change
	options.DryRun = true
	for _, root := range j.roots {
		if root.Entry.Kind.IsImage() {
			continue
		}
		done, err := convert.Convert(ctx, root.Source, root.Entry, nil, root.Entry.Tag, options)
		if err != nil {
			return err
		}
		r.Conversions = append(r.Conversions, done)
		r.SizeUnknown = r.SizeUnknown || done.To.Digest == ""
	}
	if !r.SizeUnknown {
		return nil
	}
	unknown := &archive.PackResult{Files: r.Files, DryRun: true, Tags: r.Tags}
	for i := range unknown.Tags {
		if unknown.Tags[i].Kind == layout.KindCache {
			unknown.Tags[i].Digest = ""
		}
	}
	r.PackResult = unknown
	return nil
}

func (r *packResult) render(w io.Writer) error {
	what := "packed"
	if r.DryRun {
		what = "dry run, nothing was written"
	}
	say(w, "%s: %s\n", r.name, what)
	return table(w, func(w io.Writer) {
		row := func(what, value string) { sayRow(w, what, value) }
		if r.SizeUnknown {
			row("size", "unknown until the layers are recompressed")
		} else {
			row("id", r.ID.String())
			row("size", fmt.Sprintf("%s, %d bytes", size(r.Size), r.Size))
			row("blobs", fmt.Sprintf("%d, %s", r.Packed.Blobs, size(r.Packed.Bytes)))
		}
		if r.Required.Blobs > 0 {
			row("left out", fmt.Sprintf("%s, %s, already on the far side", count(r.Required.Blobs, "blob"), size(r.Required.Bytes)))
		}
		if r.Volumes > 0 {
			row("volumes", fmt.Sprintf("%d, and %s", r.Volumes, count(r.RecoveryVolumes, "recovery volume")))
		}
		for _, tag := range r.Tags {
			sayRow(w, "tag", orNone(tag.Tag), tag.Kind.String(), orUnknown(tag.Digest))
		}
		if r.PassedOver > 0 {
			row("skipped", count(r.PassedOver, "image")+"; to pack images too, use --images")
		}
		for _, c := range r.Conversions {
			sayRow(w, "changed", orNone(c.Tag), string(c.To.Form), actionsLine(c))
		}
		for _, note := range r.Notes {
			row("note", note)
		}
	})
}
