package explain

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/provenance"
)

func (w *words) condition(c Condition) ConditionOf {
	of := ConditionOf{Step: w.build.Steps[c.Step].ID, Files: c.Files, Same: c.Same, Absent: w.shown(c.Absent), context: w.context(c.Step)}
	switch {
	case c.Same:
		of.Text = w.line(c.Step) + ", which is the same step, runs in its place"
	case len(c.Absent) > 0:
		of.Paths = w.paths(c.Paths)
		of.Text = w.absent(c.Step, c.Absent)
	case c.Files:
		of.Paths = w.paths(c.Paths)
		of.Text = fmt.Sprintf("%s of %s ", w.files(c.Paths), w.origin(c.Step)) + w.unchanged(c.Step, len(of.Paths) != 1)
	case w.build.Steps[c.Step].Op.Source != nil:
		of.Text = w.origin(c.Step) + " is what it was"
	default:
		of.Text = w.line(c.Step) + " hits"
	}
	return of
}

// unchanged says that one or several files of a step are as they were.
func (w *words) unchanged(step int, several bool) string {
	source := w.build.Steps[step].Op.Source
	isLocal := source != nil && source.IsLocal()
	switch {
	case isLocal && several:
		return "are what they were when the cache was made"
	case isLocal:
		return "is what it was when the cache was made"
	case several: // or all
		return "come out as before"
	default:
		return "comes out as before"
	}
}

// absent says that a local source lacks some paths, that they are left out of it, or that links to them lead nowhere.
func (w *words) absent(source int, paths []string) string {
	_, name := w.build.Steps[source].Op.Source.Scheme()
	origin, dir := w.origin(source), w.contexts[name]
	var out, linked, gone []string
	for _, p := range paths {
		switch _, err := contenthash.Resolve(dir, p); {
		case err == nil:
			out = append(out, p)
		case errors.Is(err, contenthash.ErrLink):
			linked = append(linked, p)
		default:
			gone = append(gone, p)
		}
	}
	dir = w.shown([]string{dir})[0]
	var all []string
	if len(out) > 0 {
		file := (&localTrees{contexts: w.contexts}).ignoreFile(w.build, name).name
		all = append(all, fmt.Sprintf("%s left out of %s by %s", w.are(out), origin, file))
	}
	if len(linked) > 0 {
		all = append(all, fmt.Sprintf("%s behind a symbolic link that leads to nothing in %s %s: none leads out of it", w.are(linked), origin, dir))
	}
	if len(gone) > 0 {
		all = append(all, fmt.Sprintf("%s not in %s %s: is it the right directory?", w.are(gone), origin, dir))
	}
	return strings.Join(all, "; ")
}

// are begins a sentence about paths.
func (w *words) are(paths []string) string {
	verb := " is"
	if len(paths) > 1 {
		verb = " are"
	}
	return strings.Join(w.shown(paths), ", ") + verb
}

// line names a step by its line, or by its ID.
func (w *words) line(step int) string {
	if at, ok := w.build.Where(step); ok {
		return fmt.Sprintf("line %d", at.Start)
	}
	return w.build.Steps[step].ID
}

// cause puts the cause of a step's miss in words.
func (w *words) cause(step int, c *Cause) *CauseOf {
	of := &CauseOf{Kind: c.Kind, Files: c.Files, Before: c.Before, Layer: c.Layer}
	if c.Kind == CauseContent {
		of.Paths = w.paths(c.Paths)
	}
	if c.Step >= 0 {
		of.Step, of.context = w.build.Steps[c.Step].ID, w.context(c.Step)
	}
	of.Diff = w.shownDiff(step, c.Diff)
	if w.redact {
		of.Files = redactedFiles(c.Files)
	}
	of.Text = w.sentence(step, c, w.shownDiff(step, w.withShell(step, c.Diff)))
	if c.Own != nil {
		of.Own = w.cause(step, c.Own)
	}
	return of
}

// shownDiff returns differences as they may be shown, with the names of their fields.
func (w *words) shownDiff(step int, diff []Difference) (shown []Difference) {
	for _, d := range diff {
		d.word = cmp.Or(d.word, w.variable(d.Field), w.owner(step, d.Field))
		d.address = w.address(step, d)
		d = d.withoutSecrets()
		if w.redact || d.isSecret() {
			d = d.redacted()
		}
		shown = append(shown, d)
	}
	return shown
}

// variable says how a variable is declared: build arguments are in the environment too.
func (w *words) variable(field string) string {
	name, ok := strings.CutPrefix(field, "env.")
	if !ok {
		return ""
	}
	isArg := false
	for _, b := range append([]*provenance.Build{w.build}, w.old...) {
		arg, env := b.Declares(name)
		if env {
			return ""
		}
		isArg = isArg || arg
	}
	if isArg {
		return "ARG " + name
	}
	return ""
}

// owner says where the owner of a directory made by WORKDIR comes from: the USER before it.
func (w *words) owner(step int, field string) string {
	m, op := actionOwner().FindStringSubmatch(field), w.build.Steps[step].Op.File
	if m == nil || op == nil {
		return ""
	}
	if i, err := strconv.Atoi(m[1]); err != nil || i >= len(op.Actions) || op.Actions[i].Mkdir == nil {
		return ""
	}
	return "USER"
}

// address returns the address that a step was given for a host, which is in no key.
func (w *words) address(step int, d Difference) string {
	op := w.build.Steps[step].Op.Exec
	if op == nil || d.New == nil || !extraHost().MatchString(d.Field) {
		return ""
	}
	for _, host := range op.Meta.ExtraHosts {
		if host != nil && host.Host == *d.New {
			return host.IP
		}
	}
	return ""
}

func (w *words) sentence(step int, c *Cause, diff []Difference) string {
	switch c.Kind {
	case CauseNoCache:
		return "no-cache: the build was told to run it"
	case CauseFollows:
		return "follows " + w.line(c.Step)
	case CauseBase:
		return w.baseSentence(step, diff)
	case CauseOperation:
		return orElse(inWords(diff, ""), "the cache has no such step here")
	case CauseContent:
		return w.contentSentence(c)
	case CauseMoved:
		return "the cache has it only after other steps: the order, or what it stands on, has changed"
	case CauseVersion:
		return versionSentence(c.Before)
	case CausePruned:
		return w.prunedSentence(c)
	case CauseNoResult:
		return "such a step has no result in any cache, and " + w.needing(c) + " needs it"
	case CauseLayer:
		return fmt.Sprintf("its layer %s is missing, or not of its size: a build with this cache fails", c.Layer)
	case CauseIgnored:
		return "the cache has it, and the build ran it all the same: was the cache imported (--cache-from)?"
	default:
		return "it ran, and nothing here says why"
	}
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// baseSentence says what is different about an image or another source.
func (w *words) baseSentence(step int, diff []Difference) string {
	source := w.build.Steps[step].Op.Source
	name := withoutSecrets(strings.TrimPrefix(sourceName(source), "docker-image://"))
	if w.redact {
		name = hidden
	}
	what := "source"
	if source.IsImage() {
		what = "base image"
	}
	switch {
	case slices.ContainsFunc(diff, Difference.isRenamed):
		return inWords(diff, what+" ")
	case len(diff) > 0:
		return inWords(diff, what+" "+name+": ")
	}
	if pin := w.pin(step); pin != "" && !w.redact {
		name += "@" + pin
	}
	return fmt.Sprintf("the cache is of no build with this %s (%s)", strings.TrimSuffix(what, " image"), name)
}

// pin returns the beginning of the digest or commit that a source was resolved to.
func (w *words) pin(step int) string {
	_, pin, ok := cutPin(w.build.Steps[step].Op.Source.Identifier)
	if found := w.build.Pin(step); !ok {
		pin = cmp.Or(found.Digest.String(), found.Commit)
	}
	return shortDigest(pin)
}

func versionSentence(before string) string {
	text := "exported by BuildKit before " + before
	switch before {
	case "v0.13":
		return text + ", whose RUN steps no newer version hits"
	case "v0.26":
		return text + ", which hashed files of patterns in another way"
	default:
		return text + ", which made another key of it"
	}
}

func (w *words) prunedSentence(c *Cause) string {
	return "its result was not exported (mode=min) or is pruned, and " + w.needing(c) + " needs it"
}

// needing names the step that needs a result.
func (w *words) needing(c *Cause) string {
	if c.Step >= 0 {
		return w.line(c.Step)
	}
	return "the build"
}

func (w *words) contentSentence(c *Cause) string {
	if len(c.Files) == 0 {
		files := w.files(c.Paths) + " of " + w.origin(c.Step)
		if step := &w.build.Steps[c.Step]; step.Op.Source == nil && len(step.Inputs) > 0 && !c.hits {
			return files + " came out different"
		}
		return files + ": not the files of the cache"
	}
	var all []string
	files := c.Files
	if w.redact {
		files = redactedFiles(files)
	}
	for _, f := range files[:min(len(files), maxFiles)] {
		all = append(all, f.String())
	}
	text := strings.Join(all, ", ")
	if more := len(c.Files) - maxFiles; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// maxFiles is the most files that a sentence names. The list next to it has all of them.
const maxFiles = 10

// String says what happened to the file.
func (f FileChange) String() string {
	switch f.Change {
	case ChangeAdded:
		return f.Path + " is new"
	case ChangeRemoved:
		return f.Path + " is gone"
	case ChangeIgnored:
		return f.Path + " is left out by " + cmp.Or(f.Ignore, contenthash.IgnoreName)
	case ChangeUnignored:
		return f.Path + " is no longer left out by " + cmp.Or(f.Ignore, contenthash.IgnoreName)
	default:
		return fmt.Sprintf("%s changed (%s)", f.Path, f.Change)
	}
}
