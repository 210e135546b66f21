package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

type verifyFlags struct {
	deep, strict bool
	tag, base    string
	forRegistry  string
	registry     *registryFlags
}

func (a *app) verifyCommand() *cobra.Command {
	flags := &verifyFlags{}
	cmd := &cobra.Command{
		Use:   "verify REF",
		Short: "Find everything in caches that BuildKit would have trouble with",
		Long: `Find everything in caches that BuildKit would have trouble with. verify hashes every blob; with --deep it also unpacks every
layer and compares its diffID.

A problem is an error if it makes builds fail or lose hits, else a warning. A cache that BuildKit imports in full has no
errors. The exit status is 3 if there is an error, with --strict also if there is a warning; 1 if a cache could not be read.

Without a tag or a digest REF means every cache there, and the layout itself where it is a directory.`,
		Example: `  ocicache verify ./cache --deep
  ocicache verify oci:./cache:main --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runVerify(cmd.Context(), flags, args[0]) },
	}
	cmd.Flags().BoolVar(&flags.deep, "deep", false, "unpack every layer and compare its diffID")
	cmd.Flags().BoolVar(&flags.strict, "strict", false, "also exit with 3 for warnings")
	cmd.Flags().StringVar(&flags.tag, "tag", "", "`TAG` of the cache to verify")
	cmd.Flags().StringVar(&flags.base, "base", "", baseUsage)
	cmd.Flags().StringVar(&flags.forRegistry, "for", "", "also show what this `REGISTRY` would refuse: a host or a profile")
	flags.registry = addRegistryFlags(cmd)
	return cmd
}

// verifyResult is what verify writes with --json.
type verifyResult struct {
	Path string `json:"path"`
	inspect.Report
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	// Error says why there was no cache to verify, or why not everything was.
	Error string `json:"error,omitempty"`

	stopped error // if not everything was
}

func (a *app) runVerify(ctx context.Context, flags *verifyFlags, text string) error {
	ref, err := parse(text, flags.tag)
	if err != nil {
		return err
	}
	if err := flags.registry.check(ref); err != nil {
		return err
	}
	options, err := a.verifyOptions(flags, ref)
	if err != nil {
		return err
	}
	from, err := a.open(ctx, ref, flags.base, flags.registry.options(either))
	if err != nil {
		return err
	}
	handler, stop := a.show()
	options.OnEvent = handler
	report, stopped := verify(ctx, from, options)
	stop()
	if stopped != nil && (ctx.Err() != nil || len(report.Problems) == 0 && report.Caches == 0) {
		return stopped
	}
	a.fitRemedies(from, report.Problems)
	a.offerRoots(ctx, from, report.Problems)
	report.Problems = append(report.Problems, lostVolumes(from.Source)...)
	result := newVerifyResult(from.Source, report, stopped)
	failed := result.found(flags.strict)
	if failed == nil && result.Caches == 0 { // nothing wrong was found, but nothing right either
		if _, failed = from.Covered(ctx); failed != nil {
			result.Error = failed.Error()
		}
	}
	if err := a.write(result, result.render); err != nil {
		return err
	}
	return failed
}

// newVerifyResult counts what was found. stopped says why not everything was verified, if so.
func newVerifyResult(src layout.Source, report inspect.Report, stopped error) verifyResult {
	result := verifyResult{Path: src.String(), Report: report, stopped: stopped}
	for _, p := range report.Problems {
		if p.Severity == buildcache.SeverityError {
			result.Errors++
		} else {
			result.Warnings++
		}
	}
	if stopped != nil {
		result.Error = stopped.Error()
	}
	return result
}

func (a *app) verifyOptions(flags *verifyFlags, ref layout.Reference) (inspect.Options, error) {
	options := inspect.Options{Deep: flags.deep, Jobs: a.jobsFor(ref), CachesOnly: ref.IsFar()}
	options.Checks = append(options.Checks, explain.CheckKeys)
	if flags.forRegistry != "" {
		profile, err := profileFor(flags.forRegistry)
		if err != nil {
			return options, err
		}
		options.Checks = append(options.Checks, profile.Check)
	}
	return options, nil
}

// found returns the error that ends the command if problems were found, or if something could not be read.
func (r verifyResult) found(strict bool) error {
	switch {
	case r.stopped != nil:
		return r.stopped
	case len(r.Unread) > 0:
		return r.unread()
	case r.Errors > 0 || strict && r.Warnings > 0:
		return errFound
	}
	return nil
}

// unread returns an error that says which tags could not be read.
func (r verifyResult) unread() error {
	var errs []error
	for _, u := range r.Unread {
		errs = append(errs, u.Err)
	}
	return failedAmong(errs, r.Caches+len(errs))
}

func verify(ctx context.Context, from *places.Opened, o inspect.Options) (inspect.Report, error) {
	ref := from.Reference
	switch {
	case places.Covers(ref):
		return inspect.VerifyAll(ctx, from.Source, o)
	case ref.Tag != "":
		return inspect.VerifyTag(ctx, from.Source, ref.Tag, o)
	}
	entry, err := from.Cache(ctx)
	var dangling *layout.DanglingError
	switch {
	case errors.As(err, &dangling): // a problem to report, not a reason to stop
		return inspect.VerifyTag(ctx, from.Source, dangling.Tag, o)
	case err != nil:
		return inspect.Report{}, err
	}
	return inspect.VerifyOne(ctx, from.Source, entry, o)
}

// shownAlike is how many findings of one kind are shown individually; if there are more, only the first is.
const shownAlike = 3

// groups collects findings of one kind about one cache, in the order of their first ones.
func groups(problems []buildcache.Problem) [][]buildcache.Problem {
	type key struct {
		kind     buildcache.Kind
		severity buildcache.Severity
		cache    string
	}
	return alikeBy(problems, func(p buildcache.Problem) key { return key{p.Kind, p.Severity, p.Cache} })
}

// alikeBy collects items with the same key, in the order of their first ones.
func alikeBy[T any, K comparable](items []T, keyOf func(T) K) (all [][]T) {
	at := map[K]int{}
	for _, item := range items {
		k := keyOf(item)
		i, ok := at[k]
		if !ok {
			i = len(all)
			at[k] = i
			all = append(all, nil)
		}
		all[i] = append(all[i], item)
	}
	return all
}

func renderProblems(w io.Writer, alike []buildcache.Problem) {
	shown := alike
	if len(alike) > shownAlike {
		shown = alike[:1]
	}
	more := len(alike) - len(shown)
	isOther := func(p buildcache.Problem) bool { return p.Detail != alike[0].Detail }
	differ := more > 0 && slices.ContainsFunc(alike, isOther)
	for _, p := range shown {
		where := p.Where
		if p.Cache != "" {
			where = p.Cache + ": " + where
		}
		if more > 0 && !differ {
			where += fmt.Sprintf(" and %d more", more)
		}
		say(w, "%s: %s: %s: %s\n", p.Severity, p.Kind, where, p.Detail)
		if p.Digest != "" {
			say(w, "  blob: %s\n", p.Digest)
		}
		say(w, "  effect: %s\n  remedy: %s\n", p.Effect, p.Remedy)
	}
	if differ {
		say(w, "  and %d more of this kind, but not all the same; --json lists each of them\n", more)
	} else if more > 0 {
		say(w, "  --json lists each of them\n")
	}
}

// isUnreadable reports whether index.json can't be read. A problem with a digest is about roots that it does not name.
func isUnreadable(problems []buildcache.Problem) bool {
	return slices.ContainsFunc(problems, func(p buildcache.Problem) bool { return p.Kind == buildcache.IndexInvalid && p.Digest == "" })
}

func (r verifyResult) render(w io.Writer) error {
	for _, alike := range groups(r.Problems) {
		renderProblems(w, alike)
	}
	for _, u := range r.Unread {
		say(w, "%s: NOT VERIFIED: %s\n", inspectedName(r.Path, u.Tag), u.Error)
	}
	if r.stopped != nil {
		say(w, "%s: NOT ALL VERIFIED: %s\n", r.Path, r.Error)
	}
	fate := removedByGC(r.Path)
	if gcRefuses(r.Problems) {
		fate = ""
	}
	if isUnreadable(r.Problems) {
		renderUntaggable(w, r.Path, r.Unnamed)
	} else {
		renderUnnamed(w, r.Path, r.Unnamed, fate)
	}
	say(w, "%s: %s verified, %s, %s", r.Path, count(r.Caches, "cache"), count(r.Errors, "error"), count(r.Warnings, "warning"))
	if r.Others > 0 {
		say(w, " (skipped because it is not a cache: %s)", english.Plural(r.Others, "entry", "entries"))
	}
	say(w, "\n")
	return nil
}
