package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// changeFlags say how caches are to be changed.
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
	flags.StringVar(&f.to, "to", "", "`FORM`: "+english.WordSeries(append(names(buildcache.Forms()), auto), "or"))
	flags.StringVar(&f.compression, "compression", "", "`TYPE` of layers: "+english.WordSeries(names(buildcache.Compressions()), "or"))
	flags.IntVar(&f.level, "compression-level", 0, "`N`: "+compress.Levels()+" (default by TYPE)")
	flags.BoolVar(&f.force, "force-compression", false, "recompress layers that already have this compression")
}

// options converts the flags to the library's options.
func (f *changeFlags) options() (convert.Options, error) {
	o := convert.Options{Form: buildcache.Form(f.to), Level: f.level, Force: f.force}
	var err error
	if f.to != "" && f.to != auto {
		if o.Form, err = buildcache.ParseForm(f.to); err != nil {
			return o, unknownForm(fmt.Errorf("--to: %w, or %s", err, auto), f.to)
		}
	}
	if f.compression != "" {
		if o.Compression, err = buildcache.ParseCompression(f.compression); err != nil {
			return o, unknownCompression(fmt.Errorf("--compression: %w", err), f.compression)
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

// defaultForm returns the form that was asked for or, if there is none and DST is in a registry, the one that the registry takes.
func defaultForm(form buildcache.Form, dst string) buildcache.Form {
	if ref, err := layout.ParseReference(dst); form == "" && err == nil && isRegistry(ref) {
		return convert.AutoForm
	}
	return form
}

func (a *app) convertCommand() *cobra.Command {
	change, flags := &changeFlags{}, &transferFlags{}
	cmd := &cobra.Command{
		Use:   "convert SRC [DST]",
		Short: "Change the form of caches and the compression of their layers",
		Long: `Change the form of caches and the compression of their layers. Without DST, the caches in SRC, or the one chosen
with --tag, are converted in place; with DST, one cache is written there. The tag moves last, once the result passes the checks of
BuildKit's importer.

Forms: docker-list and oci-index (BuildKit before v0.21), artifact (since v0.21; most registries accept it), auto (what DST's
registry accepts; default there).`,
		Example: `  ocicache convert ./cache --to artifact
  ocicache convert ./cache ./small --compression zstd --compression-level 19
  ocicache convert ./cache docker://registry.example.com/team/cache:main`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runConvert(cmd.Context(), change, flags, args) },
	}
	change.add(cmd)
	flags.add(a, cmd)
	flags.addTrust(cmd)
	flags.addOverwrite(cmd)
	return cmd
}

func (a *app) runConvert(ctx context.Context, change *changeFlags, flags *transferFlags, args []string) error {
	options, err := change.options()
	if err == nil && len(args) == 2 {
		options.Form = defaultForm(options.Form, args[1])
	}
	if err == nil && options.Form == "" && options.Compression == "" {
		if err := a.checkPaths(ctx, args); err != nil {
			return err
		}
		err = errors.New("nothing to do: give --to FORM, --compression TYPE or both")
		if len(args) == 2 {
			err = &wordError{err, mention(a.repeatedAs("copy")) + " takes it as it is"}
		}
	}
	if err != nil {
		return &usageError{err}
	}
	return a.runTransfer(ctx, flags, args, options)
}

// checkPaths fails if SRC or DST looks like a path but means something else, such as a registry without docker://.
func (a *app) checkPaths(ctx context.Context, args []string) error {
	for i, arg := range args {
		ref, err := parse(arg, "")
		switch {
		case err != nil || ref.Transport != layout.TransportPath:
		case i == 0:
			_, err = a.open(ctx, ref, "", places.Options{})
		default:
			_, err = a.create(ctx, ref, true, places.Options{})
		}
		if errors.Is(err, layout.ErrReference) {
			return &usageError{err}
		}
	}
	return nil
}
