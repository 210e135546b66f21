package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// changeFlags say what to make of caches.
type changeFlags struct {
	to          string
	compression string
	level       int
	force       bool
}

// auto stands for the form that the registry takes.
const auto = string(convert.AutoForm)

func (f *changeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.addTo(flags)
	complete(cmd, "to", append(names(buildcache.Forms()), auto))
	complete(cmd, "compression", names(buildcache.Compressions()))
}

func (f *changeFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.to, "to", "", "form of the result: docker-list, oci-index, artifact, or auto for one that the registry takes")
	flags.StringVar(&f.compression, "compression", "", "compression of the layers: uncompressed, gzip, zstd or estargz")
	flags.IntVar(&f.level, "compression-level", 0, "level of the compression (default the compression's own)")
	flags.BoolVar(&f.force, "force-compression", false, "recompress layers that have the compression already")
}

// options reads the flags into the library's options.
func (f *changeFlags) options() (convert.Options, error) {
	o := convert.Options{Form: buildcache.Form(f.to), Level: f.level, Force: f.force}
	var err error
	if f.to != "" && f.to != auto {
		if o.Form, err = buildcache.ParseForm(f.to); err != nil {
			return o, fmt.Errorf("--to: %w", err)
		}
	}
	if f.compression != "" {
		if o.Compression, err = buildcache.ParseCompression(f.compression); err != nil {
			return o, fmt.Errorf("--compression: %w", err)
		}
	}
	switch {
	case f.compression == "" && (f.level != 0 || f.force):
		return o, errors.New("--compression-level and --force-compression need --compression")
	case f.level < 0:
		return o, fmt.Errorf("--compression-level: no level %d", f.level)
	}
	levels := convert.Options{Compression: o.Compression, Level: o.Level}
	if err := levels.Check(); err != nil {
		return o, fmt.Errorf("--compression-level: %w", err)
	}
	return o, nil
}

func (a *app) convertCommand() *cobra.Command {
	change, flags := &changeFlags{}, &transferFlags{}
	cmd := &cobra.Command{
		Use:   "convert SRC [DST]",
		Short: "Change the form of caches, and the compression of their layers",
		Long: `Change the form of caches, and the compression of their layers.

Without DST every cache in SRC is changed in place, or the one that --tag chooses. The tag moves as the last step, after
the result was proved to be what BuildKit imports; until then, and if anything fails, the old cache is what the tag
names. With DST one cache of SRC is written there, under its own tag unless DST names one.

Forms: docker-list and oci-index (what BuildKit wrote before v0.21), artifact (what it writes since; the form that
most registries take). Levels: zstd 1-22, gzip and estargz 1-9.`,
		Example: `  ocicache convert ./cache --to artifact
  ocicache convert ./cache ./small --compression zstd --compression-level 19 --force-compression
  ocicache convert ./cache docker://registry.example.com/team/cache:main --to auto`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runConvert(cmd.Context(), change, flags, args) },
	}
	change.add(cmd)
	flags.add(a, cmd)
	flags.addOverwrite(cmd)
	return cmd
}

func (a *app) runConvert(ctx context.Context, change *changeFlags, flags *transferFlags, args []string) error {
	options, err := change.options()
	if err == nil && change.to == "" && change.compression == "" {
		err = errors.New("nothing to do: give --to FORM, --compression COMPRESSION or both")
	}
	if err != nil {
		return &usageError{err}
	}
	return a.runTransfer(ctx, flags, args, options)
}

// convertResult is what convert and copy write with --json.
type convertResult struct {
	Source      string            `json:"source"`
	Destination string            `json:"destination"`
	Caches      []*convert.Result `json:"caches"`
	// CacheFrom is the value of --cache-from that imports each of the caches, in their order; empty where BuildKit can't
	// read the destination.
	CacheFrom []string `json:"cacheFrom"`

	to layout.Reference
}
