package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/webpage"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

type diffFlags struct {
	all      bool
	quiet    bool
	page     besideFile
	naming   namingFlags
	registry *registryFlags
}

func (a *app) diffCommand() *cobra.Command {
	flags := &diffFlags{page: besideFile{isOurs: webpage.IsOurs}}
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what changed from one cache to another",
		Long: `Show what changed from one cache to another, wherever they are: layers that are new, gone, recompressed (the same content
in another blob) or moved (the same content on other layers), records that are new, gone or have different results, and how
much data a transfer would move each way. Caches are compared as BuildKit imports them: form and order make no difference.
diff reads roots and configs, but no layers.

With --provenance, records are shown as the build steps that they stand for, if a build of either cache has them. ` + provenanceHelp + `

The exit status is 3 if the caches differ.`,
		Example: `  ocicache diff ./yesterday ./today
  ocicache diff ./cache docker://registry.example.com/team/cache:main --json
  ocicache diff ./yesterday ./today --provenance yesterday.dockerbuild --provenance today.dockerbuild
  ocicache diff ./yesterday ./today --html diff.html`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runDiff(cmd.Context(), flags, args) },
	}
	cmd.Flags().BoolVar(&flags.all, "all", false, "list everything, not just the first of each kind")
	cmd.Flags().BoolVarP(&flags.quiet, "quiet", "q", false, "print nothing; the exit status tells whether they differ")
	cmd.Flags().StringVar(&flags.page.path, "html", "", "also write a self-contained HTML page to this `FILE`, even with --quiet")
	flags.naming.add(cmd.Flags())
	flags.page.overwrite = overwriteFlag(cmd, "--html")
	flags.registry = addRegistryFlags(cmd, src, dest)
	flags.registry.call(map[side]string{src: "A's registry", dest: "B's registry"})
	return cmd
}

// diffCounts are the lengths of the lists.
type diffCounts struct {
	Layers struct {
		Gone         int `json:"gone"`
		New          int `json:"new"`
		Recompressed int `json:"recompressed"`
		Moved        int `json:"moved"`
	} `json:"layers"`
	Records struct {
		Gone    int `json:"gone"`
		New     int `json:"new"`
		Changed int `json:"changed"`
	} `json:"records"`
}

func countsOf(d *buildcache.Difference) (c diffCounts) {
	c.Layers.Gone, c.Layers.New = len(d.Layers.Gone), len(d.Layers.New)
	c.Layers.Recompressed, c.Layers.Moved = len(d.Layers.Recompressed), len(d.Layers.Moved)
	c.Records.Gone, c.Records.New, c.Records.Changed = len(d.Records.Gone), len(d.Records.New), len(d.Records.Changed)
	return c
}

// diffResult is what diff writes with --json.
type diffResult struct {
	A    diffSide `json:"a"`
	B    diffSide `json:"b"`
	Same bool     `json:"same"`
	// Counts are the lengths of the lists below.
	Counts  diffCounts                 `json:"counts"`
	Layers  buildcache.LayerDifference `json:"layers"`
	Records diffRecords                `json:"records"`
	ToA     buildcache.Transfer        `json:"toA"`
	ToB     buildcache.Transfer        `json:"toB"`
	// Warnings say which builds have nothing to do with either cache.
	Warnings []string `json:"warnings,omitempty"`

	difference *buildcache.Difference
	all        bool
}

// diffSide is one of the two caches.
type diffSide struct {
	Place  string          `json:"place"`
	Tag    string          `json:"tag,omitempty"`
	Digest digest.Digest   `json:"digest"`
	Form   buildcache.Form `json:"form"`

	named *explain.Named
}

func (s diffSide) name() string {
	if s.Tag == "" {
		return s.Place
	}
	return s.Place + ", tag " + s.Tag
}

func (a *app) runDiff(ctx context.Context, flags *diffFlags, args []string) error {
	refs := make([]layout.Reference, len(args))
	for i, arg := range args {
		var err error
		if refs[i], err = parse(arg, ""); err != nil {
			return err
		}
	}
	if err := errors.Join(flags.registry.checkAll(slices.Concat(args, flags.naming.provenance)),
		flags.registry.checkSide(src, "A", refs[0]), flags.registry.checkSide(dest, "B", refs[1])); err != nil {
		return err
	}
	if err := errors.Join(flags.naming.check(), flags.page.check()); err != nil {
		return err
	}
	namer, err := a.namer(ctx, &flags.naming, flags.registry)
	if err != nil {
		return err
	}
	result, sides := diffResult{all: flags.all}, []side{src, dest}
	var caches [2]buildcache.Cache
	for i, of := range []*diffSide{&result.A, &result.B} {
		from, err := a.open(ctx, refs[i], "", flags.registry.options(sides[i]))
		if err != nil {
			return err
		}
		if caches[i], err = of.load(ctx, from, namer); err != nil {
			return err
		}
	}
	difference, err := buildcache.Diff(caches[0], caches[1])
	var refused *buildcache.RefusedError
	if errors.As(err, &refused) {
		return fmt.Errorf("%s: %w", []string{result.A.name(), result.B.name()}[refused.Cache], err)
	}
	if err != nil {
		return err
	}
	result.take(difference)
	if err := a.writeBeside(ctx, &flags.page, result.comparison().WriteHTML); err != nil {
		return err
	}
	if !flags.quiet {
		if err := a.write(result, result.render); err != nil {
			return err
		}
	}
	if !result.Same {
		return errFound
	}
	return nil
}

// comparison returns the difference in the form that a page shows.
func (r diffResult) comparison() inspect.Comparison {
	of := func(s diffSide) inspect.Side {
		return inspect.Side{Name: s.name(), Digest: s.Digest, Form: s.Form, Names: onPage(s.named)}
	}
	return inspect.Comparison{A: of(r.A), B: of(r.B), Difference: r.difference, Warnings: r.Warnings}
}

// load reads the chosen cache and names its records.
func (s *diffSide) load(ctx context.Context, from *places.Opened, namer *namer) (buildcache.Cache, error) {
	entry, err := from.Cache(ctx)
	if err != nil {
		return buildcache.Cache{}, err
	}
	cache, err := layout.Load(ctx, from.Source, entry)
	if err != nil {
		return buildcache.Cache{}, err
	}
	*s = diffSide{Place: from.Source.String(), Tag: entry.Tag, Digest: entry.Descriptor.Digest, Form: cache.Root.Form}
	if s.named, err = namer.name(ctx, cache); err != nil {
		return buildcache.Cache{}, err
	}
	return buildcache.Cache{Root: cache.Root, Config: cache.Config}, nil
}

// shownDifferences is how many differences of a kind are shown without --all.
const shownDifferences = 10

func (r diffResult) render(w io.Writer) error {
	say(w, "- %s (%s)\n+ %s (%s)\n", r.A.name(), r.A.Form, r.B.name(), r.B.Form)
	err := table(w, func(w io.Writer) {
		list(w, r.all, r.Layers.Gone, func(l buildcache.LayerAt) string { return "- layer\t" + layerAt(l) })
		list(w, r.all, r.Layers.New, func(l buildcache.LayerAt) string { return "+ layer\t" + layerAt(l) })
		list(w, r.all, r.Layers.Recompressed, func(c buildcache.LayerChange) string {
			return fmt.Sprintf("~ layer, recompressed\t%s\t%s\t%s to %s", short(c.A.Blob), short(c.B.Blob), size(c.A.Size), size(c.B.Size))
		})
		list(w, r.all, r.Layers.Moved, func(c buildcache.LayerChange) string {
			return fmt.Sprintf("~ layer, moved\t%s\ton %s, was on %s\t%s", short(c.B.Blob), onto(c.B.Below), onto(c.A.Below), size(c.B.Size))
		})
		list(w, r.all, r.Records.Gone, func(at diffRecord) string { return "- record\t" + at.text() })
		list(w, r.all, r.Records.New, func(at diffRecord) string { return "+ record\t" + at.text() })
		list(w, r.all, r.Records.Changed, func(c diffRecordChange) string {
			return withStep(fmt.Sprintf("~ record\t%s\tresult: %s", short(c.B.Digest), resultWords[c.Result]), c.Naming)
		})
	})
	if err != nil {
		return err
	}
	for _, warning := range r.Warnings {
		say(w, "warning: of both caches: %s\n", warning)
	}
	if r.Same {
		say(w, "no difference in layers, records and results")
	} else {
		l, c := r.Counts.Layers, r.Counts.Records
		say(w, "layers: %d gone, %d new, %d recompressed, %d moved; records: %d gone, %d new, %d with another result", l.Gone, l.New, l.Recompressed, l.Moved,
			c.Gone, c.New, c.Changed)
	}
	say(w, "\nto transfer: %s, %s from - to +; %s, %s from + to -\n", count(r.ToB.Blobs, "blob"), size(r.ToB.Bytes), count(r.ToA.Blobs, "blob"),
		size(r.ToA.Bytes))
	return nil
}

// resultWords say how results differ.
var resultWords = map[buildcache.ResultChange]string{
	buildcache.ResultNew: "only in +", buildcache.ResultGone: "only in -", buildcache.ResultContent: "other layers",
	buildcache.ResultRecompressed: "the same content in other blobs", buildcache.ResultCreatedAt: "the same blobs, made at another time",
}

// anyOf returns words as arguments for a format.
func anyOf(words []string) []any {
	all := make([]any, len(words))
	for i, word := range words {
		all[i] = word
	}
	return all
}

// list writes a line for each difference, or only for the first ones.
func list[T any](w io.Writer, all bool, differences []T, line func(T) string) {
	for i, d := range differences {
		if i == shownDifferences && !all {
			say(w, "  and %d more; --all lists them\n", len(differences)-i)
			return
		}
		columns := strings.Split(line(d), "\t")
		say(w, strings.Repeat("%s\t", len(columns)-1)+"%s\n", anyOf(columns)...)
	}
}

func layerAt(l buildcache.LayerAt) string {
	return fmt.Sprintf("%s\ton %s\t%s", short(l.Blob), onto(l.Below), size(l.Size))
}

func onto(below digest.Digest) string {
	if below == "" {
		return "nothing"
	}
	return short(below)
}
