package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

type explainFlags struct {
	provenance, old, contexts []string
	newCache, tag, base, sort string
	why, all, redact, strict  bool
	next                      bool
	registry                  *registryFlags
}

func (a *app) explainCommand() *cobra.Command {
	flags := &explainFlags{}
	cmd := &cobra.Command{
		Use:   "explain REF [REF2]",
		Short: "Show which step each record stands for, and why a step misses",
		Long: `Show which step of a build each record of a cache stands for and, with --why, why a build does not find a step in it.

--provenance takes the steps of a build: a file (provenance as a statement or a bare predicate, the output of 'docker
buildx history export' or of buildx's --metadata-file, LLB as protobuf), - for standard input, a directory that --output type=local
wrote, or an image with an attestation in any place. The provenance must have mode=max. BuildKit's history keeps it for every
successful build:

  docker buildx history export -o build.dockerbuild

File contents are checked with --context, and with the layers of the cache. Given two caches and no provenance, it shows what
kinds of changes there are between them.

The exit status is 3 if a step misses, with --strict also if explain can't tell for some step; for two caches, if they differ.`,
		Example: `  ocicache explain ./cache --provenance build.dockerbuild
  ocicache explain ./cache --provenance new.dockerbuild --why --context . --old-provenance old.dockerbuild
  ocicache explain docker://registry.example.com/team/cache:main --provenance docker://registry.example.com/team/app:main
  ocicache explain ./cache-of-yesterday ./cache-of-today`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runExplain(cmd.Context(), flags, args) },
	}
	cmd.Flags().StringArrayVar(&flags.provenance, "provenance", nil, provenanceUsage)
	cmd.Flags().BoolVar(&flags.why, "why", false, "show whether the build finds each step, and if not, why")
	cmd.Flags().StringArrayVar(&flags.old, "old-provenance", nil, "`FILE`: provenance of the build that the cache is from")
	cmd.Flags().StringArrayVar(&flags.contexts, "context", nil, "the build context: `DIR`, or NAME=DIR for a named one")
	cmd.Flags().StringVar(&flags.newCache, "new-cache", "", "`PLACE` of the cache that this build exported")
	cmd.Flags().BoolVar(&flags.all, "all", false, "list every step with its verdict, without folding any")
	cmd.Flags().BoolVar(&flags.next, "next", false, "show what the next build of the same steps would find")
	cmd.Flags().BoolVar(&flags.strict, "strict", false, "exit with 3 also if explain can't tell for some step")
	cmd.Flags().BoolVar(&flags.redact, "redact", false, redactUsage)
	cmd.Flags().StringVar(&flags.sort, "sort", "line", "`ORDER` of the steps: line, or size (largest first)")
	cmd.Flags().StringVar(&flags.tag, "tag", "", "`TAG` of the cache to explain")
	cmd.Flags().StringVar(&flags.base, "base", "", baseUsage)
	flags.registry = addRegistryFlags(cmd)
	return cmd
}

// noProvenanceError says that nothing tells what the records stand for.
type noProvenanceError struct{}

func (*noProvenanceError) Error() string {
	return "records only hold digests: give --provenance, or a second cache"
}

func (f *explainFlags) check(args []string) error {
	switch {
	case f.sort != "line" && f.sort != "size":
		return &usageError{fmt.Errorf("--sort %s: want line or size", f.sort)}
	case len(args) == 2:
		return f.checkCaches()
	case len(f.provenance) == 0:
		return &usageError{&noProvenanceError{}}
	case !f.why && (len(f.old) > 0 || f.newCache != "" || f.strict || f.all || f.next):
		return &usageError{errors.New("--old-provenance, --new-cache, --next, --all and --strict need --why")}
	case f.next && f.newCache != "":
		return &usageError{errors.New("--next is for a build that has not run yet, so it can't be used with --new-cache")}
	}
	return nil
}

// checkCaches checks the flags given with two caches.
func (f *explainFlags) checkCaches() error {
	switch {
	case f.why && len(f.provenance) == 0:
		return &usageError{errors.New("--why is about one build: give its --provenance, and if REF2 is the cache that it exported, give that as --new-cache; " +
			"to compare two caches, leave out --why")}
	case f.strict || f.all || f.next:
		return &usageError{errors.New("--next, --all and --strict need --why")}
	case f.why, len(f.provenance)+len(f.old)+len(f.contexts) > 0, f.newCache != "":
		return &usageError{errors.New("comparing two caches takes no provenance; if the build exported REF2, give it as --new-cache REF2")}
	}
	return nil
}

func (a *app) runExplain(ctx context.Context, flags *explainFlags, args []string) error {
	if err := flags.check(args); err != nil {
		return err
	}
	contexts, err := parseContexts(flags.contexts)
	if err != nil {
		return err
	}
	if err := flags.registry.checkAll(slices.Concat(args, flags.provenance, flags.old, []string{flags.newCache})); err != nil {
		return err
	}
	from, cache, err := a.openCache(ctx, args[0], flags.tag, flags.base, flags)
	if err != nil {
		return err
	}
	if len(args) == 2 {
		return a.runCompareCaches(ctx, cache, args, flags)
	}
	builds, o, err := a.explainOptions(ctx, flags)
	if err != nil {
		return err
	}
	o.Contexts = contexts
	handler, stop := a.show()
	if flags.why || len(contexts) > 0 { // otherwise contents are not needed
		o.Layers = explain.NewLayers(from.Source, cache, explain.LayersOptions{Jobs: a.jobs, OnEvent: handler})
	}
	report, err := explain.NewReport(ctx, cache, builds, o)
	stop()
	if err != nil {
		return err
	}
	if flags.sort == "size" {
		slices.SortStableFunc(report.Steps, func(x, y explain.StepReport) int { return cmp.Compare(y.Added, x.Added) })
	}
	result := explainResult{Path: from.Source.String(), Tag: cache.Tag, Why: flags.why, Report: report, all: flags.all, of: a.subjectOf(from.Reference)}
	now := time.Now()
	if err := a.write(result, func(w io.Writer) error { return result.render(w, now) }); err != nil {
		return err
	}
	if report.Misses() > 0 || flags.strict && report.Undecided() > 0 {
		return errFound
	}
	return nil
}

// explainOptions reads the builds and everything else that is given about them.
func (a *app) explainOptions(ctx context.Context, flags *explainFlags) ([]*provenance.Build, explain.ReportOptions, error) {
	o := explain.ReportOptions{Why: flags.why, Next: flags.next, Redact: flags.redact}
	builds, err := a.provenanceOf(ctx, flagProvenance, flags.provenance, flags.registry)
	if err != nil {
		return nil, o, err
	}
	if o.Old, err = a.provenanceOf(ctx, flagOldProvenance, flags.old, flags.registry); err != nil {
		return nil, o, err
	}
	if flags.newCache != "" {
		if _, o.New, err = a.openCache(ctx, flags.newCache, "", "", flags); err != nil {
			return nil, o, &sideError{flagNewCache, err}
		}
	}
	return builds, o, nil
}

// openCache opens a cache and reads its root and its config.
func (a *app) openCache(ctx context.Context, text, tag, base string, flags *explainFlags) (*places.Opened, *layout.Cache, error) {
	ref, err := parse(text, tag)
	if err != nil {
		return nil, nil, err
	}
	from, err := a.open(ctx, ref, base, flags.registry.options(either))
	if err != nil {
		return nil, nil, err
	}
	entry, err := from.Cache(ctx)
	if err != nil {
		return nil, nil, err
	}
	cache, err := layout.Load(ctx, from.Source, entry)
	return from, cache, err
}

func (a *app) runCompareCaches(ctx context.Context, old *layout.Cache, args []string, flags *explainFlags) error {
	_, now, err := a.openCache(ctx, args[1], "", "", flags)
	if err != nil {
		return err
	}
	compared, err := explain.CompareCaches(old, now)
	if err != nil {
		return err
	}
	result := explainCachesResult{Old: args[0], New: args[1], Compared: compared}
	if err := a.write(result, result.render); err != nil {
		return err
	}
	if compared.Differ() {
		return errFound
	}
	return nil
}

// parseContexts reads --context: DIR, or NAME=DIR.
func parseContexts(values []string) (explain.Contexts, error) {
	contexts := explain.Contexts{}
	for _, value := range values {
		name, dir := "context", value
		if before, after, ok := strings.Cut(value, "="); ok && before != "" && !strings.ContainsAny(before, `/\.`) {
			name, dir = before, after
		}
		if _, ok := contexts[name]; ok {
			return nil, &usageError{fmt.Errorf("--context: two directories given for %q", name)}
		}
		if err := checkDirectory(dir); err != nil {
			return nil, fmt.Errorf("--context: %w", err)
		}
		contexts[name] = dir
	}
	return contexts, nil
}
