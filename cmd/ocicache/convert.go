package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// convertFlags are the flags of convert.
type convertFlags struct {
	to          string
	compression string
	level       int
	force       bool
	tag         string
	link        bool
	dryRun      bool
}

func (a *app) convertCommand() *cobra.Command {
	flags := &convertFlags{}
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
  ocicache convert oci:./cache:main oci:./out:main --to docker-list --compression gzip`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runConvert(cmd.Context(), flags, args) },
	}
	flags.add(cmd.Flags())
	complete(cmd, "to", names(buildcache.Forms()))
	complete(cmd, "compression", names(buildcache.Compressions()))
	return cmd
}

func (f *convertFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.to, "to", "", "form of the result: docker-list, oci-index or artifact")
	flags.StringVar(&f.compression, "compression", "", "compression of the layers: uncompressed, gzip, zstd or estargz")
	flags.IntVar(&f.level, "compression-level", 0, "level of the compression (default the compression's own)")
	flags.BoolVar(&f.force, "force-compression", false, "recompress layers that have the compression already")
	flags.StringVar(&f.tag, "tag", "", "the cache of SRC to convert")
	flags.BoolVar(&f.link, "link", false, "hard-link unchanged layers into DST instead of copying them")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be done, and write nothing")
}

// options reads the flags into the library's options.
func (f *convertFlags) options(flags *app) (convert.Options, error) {
	o := convert.Options{Level: f.level, Force: f.force, Jobs: flags.jobs, DryRun: f.dryRun}
	var err error
	if f.to != "" {
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
	case f.to == "" && f.compression == "":
		return o, errors.New("nothing to do: give --to FORM, --compression COMPRESSION or both")
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

// convertResult is what convert writes with --json.
type convertResult struct {
	Source      string            `json:"source"`
	Destination string            `json:"destination"`
	Caches      []*convert.Result `json:"caches"`
}

func (a *app) runConvert(ctx context.Context, flags *convertFlags, args []string) error {
	options, err := flags.options(a)
	if err != nil {
		return &usageError{err}
	}
	job, err := a.newConvertJob(ctx, flags, args)
	if err != nil {
		return err
	}
	result := convertResult{Source: job.src.String(), Destination: job.dstPath, Caches: []*convert.Result{}}
	handler, stop := a.show()
	options.OnEvent = handler
	for _, entry := range job.entries {
		var done *convert.Result
		done, err = convert.Convert(ctx, job.src, entry, job.dst, cmp.Or(job.tag, entry.Tag), options)
		if err != nil {
			break
		}
		result.Caches = append(result.Caches, done)
	}
	stop()
	// What was done before an error is said all the same.
	if err == nil || len(result.Caches) > 0 {
		err = errors.Join(err, a.write(result, result.render))
	}
	return err
}

// convertJob is what a command line of convert comes to.
type convertJob struct {
	src     *layout.Dir
	entries []layout.Entry
	dst     layout.Place // nil for a dry run to a place that is not there
	dstPath string
	tag     string // of the result, "" for the source's
}

func (a *app) newConvertJob(ctx context.Context, flags *convertFlags, args []string) (*convertJob, error) {
	from, err := parse(args[0], flags.tag)
	if err != nil {
		return nil, err
	}
	src, err := a.open(from, flags.link)
	if err != nil {
		return nil, err
	}
	job := &convertJob{src: src, dst: src, dstPath: from.Path}
	if len(args) == 1 {
		job.entries, err = chosen(ctx, src, from.Tag)
		return job, err
	}
	to, err := parse(args[1], "")
	if err != nil {
		return nil, err
	}
	entry, err := layout.One(ctx, src, from.Tag)
	if err != nil {
		return nil, err
	}
	job.entries = []layout.Entry{entry}
	job.tag, job.dstPath = cmp.Or(to.Tag, entry.Tag, "latest"), to.Path
	if !same(from, to) {
		job.dst, err = a.destination(to, flags)
	}
	return job, err
}

// destination opens the place for results.
func (a *app) destination(to layout.Reference, flags *convertFlags) (layout.Place, error) {
	if !flags.dryRun {
		return a.create(to, flags.link)
	}
	dir, err := a.open(to, flags.link)
	if errors.Is(err, errNoPlace) {
		return nil, nil
	}
	return dir, err
}

// chosen returns the cache with a tag, or every cache.
func chosen(ctx context.Context, src *layout.Dir, tag string) ([]layout.Entry, error) {
	if tag == "" {
		return layout.All(ctx, src)
	}
	entry, err := layout.One(ctx, src, tag)
	return []layout.Entry{entry}, err
}
