package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/webpage"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

func (a *app) inspectCommand() *cobra.Command {
	flags := &inspectFlags{page: besideFile{isOurs: webpage.IsOurs}, graph: besideFile{isOurs: inspect.IsDOT}}
	cmd := &cobra.Command{
		Use:   "inspect REF",
		Short: "Show what is in caches",
		Long: `Show what is in caches: form, config, layers, records and results, ages and sizes, and how much of a layout no tag
reaches. inspect reads roots, configs and a few bytes of each layer.

Without a tag or a digest REF means every cache there.

--raw writes the bytes of one root exactly as they are stored, or with --config those of the cache config.

--html writes a page with the tree of layers, the graph of records, and tables that can be sorted and filtered; --graph writes the
same graph for Graphviz. To replace a file that ocicache did not write, add --overwrite.

--steps lists the records, and with --provenance the Dockerfile step that each one stands for; pages and graphs then show the steps
too. ` + provenanceHelp + ` A record that matches no step of that build comes from another build. 'ocicache explain' goes by steps, and shows why they miss.`,
		Example: `  ocicache inspect ./cache
  ocicache inspect oci:./cache:main --json
  ocicache inspect ./cache --steps --provenance build.dockerbuild
  ocicache inspect oci:./cache:main --raw --config | jq .records
  ocicache inspect ./cache --html cache.html
  ocicache inspect ./cache --graph - | dot -Tsvg >cache.svg`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(a); err != nil {
				return err
			}
			return a.runInspect(cmd.Context(), args[0], flags)
		},
	}
	cmd.Flags().StringVar(&flags.tag, "tag", "", "`TAG` of the cache to show")
	cmd.Flags().StringVar(&flags.base, "base", "", baseUsage)
	flags.raw.add(cmd.Flags())
	cmd.Flags().BoolVar(&flags.steps, "steps", false, "list the records; with --provenance, by their steps")
	flags.naming.add(cmd.Flags())
	cmd.Flags().StringVar(&flags.page.path, "html", "", "write a self-contained HTML page to this `FILE`")
	cmd.Flags().StringVar(&flags.graph.path, "graph", "", "write a graph for Graphviz to this `FILE`; - for standard output")
	overwrite := overwriteFlag(cmd, "--html and --graph")
	flags.page.overwrite, flags.graph.overwrite = overwrite, overwrite
	flags.registry = addRegistryFlags(cmd)
	return cmd
}

type inspectFlags struct {
	tag, base   string
	page, graph besideFile
	toStdout    bool // the graph is written instead of the result
	steps       bool
	naming      namingFlags
	raw         rawFlags
	registry    *registryFlags
}

func (f *inspectFlags) check(a *app) error {
	if err := f.raw.check(a, f.registry.set); err != nil {
		return err
	}
	if f.toStdout = f.graph.path == "-"; f.toStdout {
		if f.graph.path = ""; a.json {
			return &usageError{errors.New("--graph - and --json both need standard output: give --graph a FILE")}
		}
	}
	if f.page.path != "" && f.page.path == f.graph.path {
		return &usageError{errors.New("--html and --graph need two different files")}
	}
	// Naming flags without a page or a graph are for the list of steps.
	f.steps = f.steps || f.naming.given() && f.page.path == "" && f.graph.path == "" && !f.toStdout
	return errors.Join(f.naming.check(), f.page.check(), f.graph.check())
}

// inspectResult is what inspect writes with --json.
type inspectResult struct {
	Path   string           `json:"path"`
	Caches []inspectedCache `json:"caches"`
	// Unreachable is absent if one cache was chosen, or if it can't be told.
	Unreachable *inspect.Unreached `json:"unreachable,omitempty"`
	// Warning says what can't be told.
	Warning string `json:"warning,omitempty"`

	steps bool // list the records
	of    subject
}

// inspectedCache is what is in a cache.
type inspectedCache struct {
	*inspect.Summary
	// Steps are the records, if they are to be listed or have names.
	Steps *explain.Named `json:"steps,omitempty"`
	// Remedy says how to restore missing or damaged blobs.
	Remedy string `json:"remedy,omitempty"`
	// Error says why nothing but the name is known.
	Error string `json:"error,omitempty"`

	err      error
	detailed inspect.Detailed
}

func (a *app) runInspect(ctx context.Context, text string, flags *inspectFlags) error {
	ref, err := parse(text, flags.tag)
	if err != nil {
		return err
	}
	if err := flags.registry.checkAll(append([]string{text}, flags.naming.provenance...)); err != nil {
		return err
	}
	from, err := a.open(ctx, ref, flags.base, flags.registry.options(either))
	if err != nil {
		return err
	}
	if flags.raw.root {
		return a.writeStored(ctx, from, flags.raw)
	}
	entries, err := covered(ctx, from)
	if err != nil {
		return err
	}
	namer, err := a.namer(ctx, &flags.naming, flags.registry)
	if err != nil {
		return err
	}
	result, now := inspectResult{Path: from.Source.String(), Caches: []inspectedCache{}, steps: flags.steps, of: a.subjectOf(from.Reference)}, time.Now()
	drawn := inspectDrawn{flags: flags, page: inspect.NewPage(result.Path, now)}
	roots := inspectedRoots{namer: namer, listed: flags.steps, found: map[rootKey]inspectedRoot{}}
	for _, entry := range entries {
		cache := a.inspectOne(ctx, from, entry, &roots)
		result.Caches = append(result.Caches, cache)
		drawn.add(cache)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	failed := result.err()
	if failed != nil && len(entries) == 1 && !a.json {
		return failed // the error says everything
	}
	if err := result.addUnreachable(ctx, from); err != nil {
		return err
	}
	drawn.page.Unreachable, drawn.page.Warning = result.Unreachable, drawn.warning(result.Warning)
	if err := drawn.write(ctx, a, result.Path); err != nil {
		return err
	}
	if flags.toStdout {
		return errors.Join(a.writeDOT(result.Path, drawn.caches), failed)
	}
	return errors.Join(a.write(result, func(w io.Writer) error { return result.render(w, now) }), failed)
}

// remedyOf says how to restore missing or damaged blobs, "" if there are none.
func (a *app) remedyOf(from *places.Opened, s *inspect.Summary) string {
	at := slices.IndexFunc(s.Layers, func(l inspect.Layer) bool { return l.Missing || l.ActualSize != nil })
	if at < 0 {
		return ""
	}
	kind := buildcache.BlobMissing
	if !s.Layers[at].Missing {
		kind = buildcache.BlobDamaged
	}
	problem := buildcache.NewProblem(kind, "", "").On(s.Layers[at].Digest)
	problem.Cache = s.Tag
	problems := []buildcache.Problem{problem}
	a.fitRemedies(from, problems)
	return problems[0].Remedy
}

// inspectedName returns the name of a cache in a place.
func inspectedName(place, tag string) string {
	if tag == "" {
		return place + ", untagged"
	}
	return place + ", tag " + tag
}

// err returns an error that says which caches could not be read, nil for none.
func (r *inspectResult) err() error {
	return failedOf(r.Caches, func(c inspectedCache) error { return c.err })
}

// inspectDrawn is what inspect writes in addition to its result.
type inspectDrawn struct {
	flags  *inspectFlags
	page   *inspect.Page
	caches []inspect.Detailed // for a graph
	unread []string           // why caches are in neither
}

// add keeps what is needed of a cache.
func (d *inspectDrawn) add(cache inspectedCache) {
	if cache.err != nil {
		d.unread = append(d.unread, "not read: "+cache.Error)
		return
	}
	if d.flags.page.path != "" {
		d.page.Add(cache.detailed)
	}
	if d.flags.graph.path != "" || d.flags.toStdout {
		d.caches = append(d.caches, cache.detailed)
	}
}

// warning says what a page can't show.
func (d *inspectDrawn) warning(ofPlace string) string {
	if ofPlace != "" {
		d.unread = append(d.unread, ofPlace)
	}
	return strings.Join(d.unread, "; ")
}

func (d *inspectDrawn) write(ctx context.Context, a *app, place string) error {
	if err := a.writeBeside(ctx, &d.flags.page, d.page.WriteHTML); err != nil {
		return err
	}
	return a.writeBeside(ctx, &d.flags.graph, func(w io.Writer) error { return inspect.WriteDOT(w, place, d.caches) })
}

// writeDOT writes a graph in place of the result.
func (a *app) writeDOT(place string, caches []inspect.Detailed) error {
	if err := inspect.WriteDOT(a.stdout, place, caches); err != nil {
		return &outputError{err}
	}
	return nil
}

// addUnreachable adds what no entry of a directory reaches, if REF means all of it.
func (r *inspectResult) addUnreachable(ctx context.Context, from *places.Opened) (err error) {
	if dir, ok := from.Source.(*layout.Dir); ok && places.MeansAll(from.Reference) {
		r.Unreachable, r.Warning, err = unreachable(ctx, dir)
	}
	return err
}

// unreachable returns what no entry of a directory reaches, or why that can't be told.
func unreachable(ctx context.Context, dir *layout.Dir) (*inspect.Unreached, string, error) {
	unreached, err := inspect.Unreachable(ctx, dir)
	switch {
	case ctx.Err() != nil:
		return nil, "", context.Cause(ctx)
	case err != nil:
		return nil, "can't tell which blobs no tag reaches: " + err.Error(), nil //nolint:nilerr // it is said in the result
	}
	return &unreached, "", nil
}

func (r *inspectResult) render(w io.Writer, now time.Time) error {
	shown := map[digest.Digest]string{} // by root, the cache above that shows its layers
	for i, s := range r.Caches {
		if i > 0 {
			say(w, "\n")
		}
		if err := s.render(w, r, shown[s.Digest], now); err != nil {
			return err
		}
		if s.Error == "" && shown[s.Digest] == "" {
			shown[s.Digest] = "tag " + s.Tag
			if s.Tag == "" {
				shown[s.Digest] = "the untagged one"
			}
		}
	}
	switch {
	case r.Warning != "":
		say(w, "\nwarning: %s\n", r.Warning)
	case r.Unreachable != nil && len(r.Unreachable.Blobs) > 0:
		say(w, "\n%s with %s that no tag reaches\n", count(len(r.Unreachable.Blobs), "blob"), size(r.Unreachable.Bytes))
	}
	return nil
}

// render shows a cache. Layers and steps are left out if they are shown above for another tag of the same root.
func (s inspectedCache) render(w io.Writer, of *inspectResult, shownAs string, now time.Time) error {
	name := inspectedName(of.Path, s.Tag)
	if s.Error != "" {
		say(w, "%s: NOT READ: %s\n", name, strings.TrimPrefix(strings.TrimPrefix(s.Error, name+": "), of.Path+": "))
		return nil
	}
	say(w, "%s\n", name)
	const mediaTypesWidth = 76
	form := string(s.Form)
	if !isNarrow(w, mediaTypesWidth) { // the form says the same as the media type
		form = fmt.Sprintf("%s (%s)", s.Form, orNone(s.MediaType))
	}
	err := table(w, func(w io.Writer) {
		row := func(what, value string) { sayRow(w, what, value) }
		row("form", form)
		row("root", fmt.Sprintf("%s, %s", s.Digest, size(s.Size)))
		row("config", fmt.Sprintf("%s, %s", s.Config.Digest, size(s.Config.Size)))
		row("records", fmt.Sprintf("%d, with %s", s.Records, count(s.Results, "result")))
		row("results made", ages(s.Oldest, s.Newest, now))
		row("layers", totals(s.Totals))
		if s.Remedy != "" {
			row("remedy", s.Remedy)
		}
		for _, limit := range s.Limits {
			row("note", limit)
		}
		if shownAs != "" {
			row("same root", "as "+shownAs+", shown above")
		} else if s.Steps == nil {
			row("steps", stepsHint)
		}
		if s.OverLimit {
			row("problem", "the root or config exceeds the 1 MiB that BuildKit imports: no build can hit this cache")
		}
	})
	if err != nil || shownAs != "" {
		return err
	}
	if s.Steps == nil {
		sayCommand(w, "    "+of.of.command("inspect", "--steps", "--provenance", "FILE"))
	}
	say(w, "\n")
	layers := columns{drop: []string{"MEDIA TYPE", "DIFFID", "RESULTS", "CREATED", "ON"}}
	err = tableOf(w, layers, func(w io.Writer) { renderLayers(w, s.Summary, now) })
	if err != nil || s.Steps == nil {
		return err
	}
	return renderSteps(w, s.Steps, of.steps, now)
}

func renderLayers(w io.Writer, s *inspect.Summary, now time.Time) {
	say(w, "  #\tON\tBLOB\tCOMPRESSION\tSIZE\tDIFFID\tCREATED\tRESULTS\tMEDIA TYPE\n")
	for _, l := range s.Layers {
		compression := string(l.Compression)
		switch {
		case l.Missing:
			compression = "MISSING"
		case l.ActualSize != nil:
			compression = fmt.Sprintf("DAMAGED (%s)", size(*l.ActualSize))
		case l.Unlisted:
			compression += " (not in the root)"
		}
		say(w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", ordinal(l.Index), ordinal(l.Parent), short(l.Digest), compression,
			size(l.Size), short(l.DiffID), age(l.CreatedAt, now), l.Results, l.MediaType)
	}
}

// ordinal writes an index, or a dash for none.
func ordinal(i int) string {
	if i < 0 {
		return "-"
	}
	return strconv.Itoa(i)
}

func ages(oldest, newest *time.Time, now time.Time) string {
	if oldest == nil {
		return "unknown"
	}
	return fmt.Sprintf("%s to %s (%s)", oldest.Format(time.RFC3339), newest.Format(time.RFC3339), age(newest, now))
}

func totals(t inspect.Totals) string {
	text := fmt.Sprintf("%d in %s, %s", t.Layers, count(t.Blobs, "blob"), size(t.Bytes))
	if t.Duplicates > 0 {
		text += fmt.Sprintf(" (%d times a blob that also has another parent)", t.Duplicates)
	}
	if t.Missing > 0 {
		text += fmt.Sprintf(", %s MISSING", count(t.Missing, "blob"))
	}
	if t.Damaged > 0 {
		text += fmt.Sprintf(", %s DAMAGED", count(t.Damaged, "blob"))
	}
	return text
}
