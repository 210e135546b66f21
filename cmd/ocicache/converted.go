package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// convertResult is what convert and copy write with --json.
type convertResult struct {
	Source      string           `json:"source"`
	Destination string           `json:"destination"`
	Caches      []convertedCache `json:"caches"`
	// CacheFrom is, for each of the caches in order, the value of --cache-from that imports it. It is empty if BuildKit
	// can't read the destination; a value is "" for an untagged cache whose digest a dry run can't know, and for a cache
	// that failed.
	CacheFrom []string `json:"cacheFrom"`
	// Error is what ended it, other than what was wrong with caches.
	Error string `json:"error,omitempty"`

	to     layout.Reference
	itself bool // DST is SRC, and its tag is the cache's

	gcRefuses string // why gc will remove nothing in DST, "" if it will
}

// convertedCache is what became of a cache.
type convertedCache struct {
	*convert.Result
	Error string `json:"error,omitempty"`

	err error
}

// err returns an error that says which caches failed, nil for none.
func (r *convertResult) err() error {
	return failedOf(r.Caches, func(c convertedCache) error { return c.err })
}

// digests returns the digests of the new roots of all caches that did not fail.
func (r *convertResult) digests() []string {
	var lines []string
	for _, c := range r.Caches {
		if c.err == nil {
			lines = append(lines, string(c.To.Digest))
		}
	}
	return lines
}

// cachesInPlace returns the caches to be changed in place, including those that can't be read, so that they hide no other.
func cachesInPlace(ctx context.Context, from *places.Opened) ([]layout.Entry, error) {
	if !places.MeansAll(from.Reference) {
		return from.Caches(ctx)
	}
	return covered(ctx, from)
}

// convertAll converts caches one after the other. In place, it goes on after a failure and records it in the result; an error means that it
// could not go on.
func (a *app) convertAll(
	ctx context.Context, t *transfer, flags *transferFlags, entries []layout.Entry, options convert.Options, result *convertResult,
) error {
	for _, entry := range entries {
		result.itself = places.SameFile(t.src.Reference, t.dstRef) && cmp.Or(t.tag, entry.Tag) == entry.Tag
		done, err := a.convertOne(ctx, t, flags, entry, options)
		var locked *layout.LockedError
		switch {
		case err != nil && (!t.inPlace || ctx.Err() != nil || errors.As(err, &locked)):
			return err
		case err != nil:
			if len(entries) > 1 {
				err = ofCache(t.srcName, entry.Tag, err)
			}
			failed := &convert.Result{Tag: entry.Tag, From: convert.Root{Digest: entry.Descriptor.Digest}, DryRun: options.DryRun}
			result.Caches = append(result.Caches, convertedCache{failed, err.Error(), err})
			result.CacheFrom = append(result.CacheFrom, "")
			continue
		}
		here := t.dstRef.IsLocal() && t.file == ""
		done.Notes = append(done.Notes, a.roomNotes(flags.dryRun && here, t.dstRef.Path, t.src.Source, done.Moved)...)
		result.Caches = append(result.Caches, convertedCache{Result: done})
		if t.file == "" {
			result.CacheFrom = append(result.CacheFrom, places.CacheFrom(t.dstRef, done.Tag, done.To.Digest))
		}
	}
	return nil
}

// ofCache adds to an error the cache of a place that it is about, unless it says so already.
func ofCache(place, tag string, err error) error {
	if tag == "" || strings.Contains(err.Error(), fmt.Sprintf("tag %q", tag)) {
		return err
	}
	return fmt.Errorf("%s, tag %s: %w", place, tag, err)
}

// convertOne converts one cache of a transfer.
func (a *app) convertOne(
	ctx context.Context, t *transfer, flags *transferFlags, entry layout.Entry, options convert.Options,
) (*convert.Result, error) {
	if err := entry.Check(ctx, t.src.Source); err != nil {
		return nil, err
	}
	tag := cmp.Or(t.tag, entry.Tag)
	if t.file == "" {
		return convert.Convert(ctx, t.src.Source, entry, t.dst, tag, options)
	}
	to := archive.PackOptions{Layout: a.layoutOptions(), Overwrite: flags.overwrite, OnEvent: options.OnEvent}
	if options.DryRun {
		if err := archive.CheckTarget(ctx, t.file, to, t.src.Source); err != nil {
			return nil, err
		}
		return convert.Convert(ctx, t.src.Source, entry, nil, tag, options)
	}
	var done *convert.Result
	to.Change = func(ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place) (_ layout.Entry, err error) {
		done, err = convert.Convert(ctx, src, entry, dst, tag, options)
		if err != nil {
			return layout.Entry{}, err
		}
		return done.Entry(), nil
	}
	_, err := archive.Pack(ctx, []archive.Chosen{{Source: t.src.Source, Entry: entry}}, archive.Target{File: t.file}, to)
	return done, err
}
