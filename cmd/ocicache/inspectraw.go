package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// rawFlags ask for bytes exactly as they are stored, as in skopeo.
type rawFlags struct{ root, config bool }

func (f *rawFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.root, "raw", false, "write only the root's bytes, exactly as stored")
	flags.BoolVar(&f.config, "config", false, "with --raw, write the cache config instead")
}

// check refuses flags that ask for another result.
func (f *rawFlags) check(a *app, given *pflag.FlagSet) error {
	if f.config && !f.root {
		return &usageError{errors.New("--config needs --raw")}
	}
	if f.root && a.json {
		return &usageError{errors.New("--raw and --json both need standard output")}
	}
	for _, other := range []string{"steps", flagProvenance, "redact", "html", "graph", "overwrite"} {
		if f.root && given.Changed(other) {
			return &usageError{fmt.Errorf("--raw only writes stored bytes; it can't be used with --%s", other)}
		}
	}
	return nil
}

// writeStored writes the root of the chosen cache, or its cache config. The bytes are checked against their digest.
func (a *app) writeStored(ctx context.Context, from *places.Opened, f rawFlags) error {
	entry, err := from.Cache(ctx)
	if err != nil {
		return err
	}
	raw, err := layout.ReadBlob(ctx, from.Source, entry.Descriptor, buildcache.MaxRoot)
	if err != nil {
		return &layout.UnreadError{What: "root", Err: err}
	}
	if f.config {
		root, err := buildcache.ParseRoot(raw)
		if err != nil {
			return fmt.Errorf("read root: %w", err)
		}
		if raw, err = layout.ReadBlob(ctx, from.Source, root.Config, buildcache.MaxConfig); err != nil {
			return &layout.UnreadError{What: "config", Err: err}
		}
	}
	if _, err := a.stdout.Write(raw); err != nil {
		return &outputError{err}
	}
	return nil
}
