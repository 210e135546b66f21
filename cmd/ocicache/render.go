package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
)

// size formats a number of bytes for people, in units of 1000.
func size(bytes int64) string { return humanize.Bytes(uint64(max(bytes, 0))) }

// count formats a number with its noun.
func count(n int, singular string) string { return english.Plural(n, singular, "") }

// short returns the beginning of a digest, enough to find it again in a listing.
func short(d digest.Digest) string {
	_, hex, ok := strings.Cut(d.String(), ":")
	if !ok {
		return d.String()
	}
	return hex[:min(len(hex), 12)]
}

func (r convertResult) render(w io.Writer) error {
	for i, cache := range r.Caches {
		if i > 0 {
			say(w, "\n")
		}
		if cache.err != nil {
			name := ofTag(r.Destination, cache.Tag)
			say(w, "%s: NOT CONVERTED: %s\n", name, strings.TrimPrefix(cache.Error, name+": "))
			continue
		}
		if err := r.renderCache(w, cache); err != nil {
			return err
		}
		if i < len(r.CacheFrom) {
			isThere := !cache.DryRun || cache.Skipped || cache.Unchanged && r.Source == r.Destination
			sayImport(w, "it", importOf(r.to, cache.Tag, cache.To.Digest), isThere)
		}
	}
	return nil
}

// ofTag names the cache in a place with a tag.
func ofTag(place, tag string) string {
	if tag == "" {
		return place
	}
	return place + ", tag " + tag
}

func (r convertResult) renderCache(w io.Writer, c convertedCache) error {
	name := ofTag(r.Destination, c.Tag)
	switch {
	case c.Unchanged && (r.itself || r.Source == r.Destination):
		say(w, "%s: nothing to do\n", name)
	case c.Skipped:
		say(w, "%s: nothing to do, it is already there\n", name)
	case c.DryRun:
		say(w, "%s: dry run, nothing was written\n", name)
	case c.Unchanged:
		say(w, "%s: copied as it is\n", name)
	default:
		say(w, "%s: converted\n", name)
	}
	const mediaTypesWidth = 72
	err := tableOf(w, columns{}, func(rows io.Writer) {
		row := func(what, before, after string) { sayRow(rows, what, before, after) }
		row("", "before", "after")
		row("form", string(c.From.Form), string(c.To.Form))
		if !isNarrow(w, mediaTypesWidth) { // the form says the same as the media type
			row("media type", orNone(c.From.MediaType), c.To.MediaType)
		}
		row("root", c.From.Digest.String(), orUnknown(c.To.Digest))
		row("config", c.From.Config.String(), orUnknown(c.To.Config))
		row("layers", layersLine(c.Result, false), layersLine(c.Result, true))
	})
	if err != nil {
		return err
	}
	say(w, "  %s\n", actionsLine(c.Result))
	if c.Was != "" {
		say(w, "  replaced what the tag pointed to: %s\n", c.Was)
	}
	if c.Unnamed > 0 {
		say(w, "  no tag points to %s any more; %s\n", size(c.Unnamed), freesUnless(r.gcRefuses, r.Destination))
	}
	for _, note := range c.Notes {
		say(w, "  note: %s\n", note)
	}
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "(none)"
	}
	return text
}

func orUnknown(d digest.Digest) string {
	if d == "" {
		return "(not known yet)"
	}
	return d.String()
}

// layersLine says how many layer blobs one side has, how they are compressed and how large they are.
func layersLine(c *convert.Result, after bool) string {
	var total int64
	var packed []buildcache.Compression
	for _, layer := range c.Layers {
		compression, bytes := layer.FromCompression, layer.FromSize
		if after {
			compression, bytes = layer.ToCompression, layer.ToSize
		}
		total += bytes
		if compression != "" {
			packed = append(packed, compression)
		}
	}
	slices.Sort(packed)
	text := count(len(c.Layers), "blob")
	if words := names(slices.Compact(packed)); len(words) > 0 {
		text += ", " + strings.Join(words, " and ")
	}
	if after && c.DryRun && c.To.Digest == "" {
		return text
	}
	return text + ", " + size(total)
}

// actionsLine says what was done with the layers.
func actionsLine(c *convert.Result) string {
	steps := map[convert.Action]int{}
	for _, layer := range c.Layers {
		steps[layer.Action]++
	}
	parts := []string{}
	for _, action := range []struct {
		convert.Action
		words string
	}{
		{convert.Recompress, "recompressed"}, {convert.Reuse, "reused from earlier work"}, {convert.Keep, "kept as they are"},
	} {
		if n := steps[action.Action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, action.words))
		}
	}
	if len(parts) == 0 {
		return "no layers"
	}
	return "layer blobs: " + strings.Join(parts, ", ")
}
