package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/registry"
)

// changeFlags say what to make of caches.
type changeFlags struct {
	to          string
	compression string
	level       int
	force       bool
}

// auto stands for the form that the registry takes.
const auto = "auto"

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

// options reads the flags into the library's options. With auto the forms are not set yet.
func (f *changeFlags) options() (convert.Options, error) {
	o := convert.Options{Level: f.level, Force: f.force}
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
	if err := o.Check(); err != nil {
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
	job, err := a.newTransfer(ctx, flags, args)
	if err != nil {
		return err
	}
	options.Jobs, options.DryRun = job.jobs, flags.dryRun
	if options.Preflight, err = flags.preflight(job); err != nil {
		return err
	}
	if change.to == auto {
		formsFor, err := flags.formsFor(job)
		if err != nil {
			return err
		}
		options.FormsFor, options.Refused = formsFor, aboutForm
	}
	return a.convertAll(ctx, job, options)
}

// formsFor returns which forms to try for a cache with --to auto.
func (f *transferFlags) formsFor(t *transfer) (func(buildcache.Form) []buildcache.Form, error) {
	profile, ok, err := f.profile(t.dstRef, t.dst)
	if err != nil {
		return nil, err
	}
	if !ok && !isRegistry(t.dstRef) {
		return nil, &usageError{errors.New("--to auto needs a registry to go by: a DST in one, or --for REGISTRY")}
	}
	return profile.Candidates, nil
}

// aboutForm says whether a registry refused a cache because of its form.
func aboutForm(err error) bool {
	var refused *registry.RefusedError
	return errors.As(err, &refused) && refused.IsAboutForm()
}

// convertResult is what convert and copy write with --json.
type convertResult struct {
	Source      string            `json:"source"`
	Destination string            `json:"destination"`
	Caches      []*convert.Result `json:"caches"`
}
