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

// rawFlags ask for bytes as they are stored, as skopeo has it.
type rawFlags struct{ root, config bool }

func (f *rawFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.root, "raw", false, "write the root's bytes as they are stored, alone")
	flags.BoolVar(&f.config, "config", false, "with --raw, those of the cache config")
}

// check refuses what wants another result.
func (f *rawFlags) check(a *app, given *pflag.FlagSet) error {
	if f.config && !f.root {
		return &usageError{errors.New("--config is for --raw, which is not given")}
	}
	if f.root && a.json {
		return &usageError{errors.New("--raw and --json both want standard output")}
	}
	for _, other := range []string{"steps", flagProvenance, "redact", "html", "graph", "overwrite"} {
		if f.root && given.Changed(other) {
			return &usageError{fmt.Errorf("--raw writes bytes as they are stored, and --%s is for another result", other)}
		}
	}
	return nil
}

// writeStored writes the root of the one cache that is meant, or its cache config. The bytes are those of their digest.
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
