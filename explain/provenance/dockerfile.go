package provenance

import (
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/ocicache/ocicache/explain/llb"
)

// dockerfile is a file after scanning.
type dockerfile struct {
	lines     []string
	stages    []Stage
	args, env map[string]bool // names that are declared
}

// readFiles scans the files, once.
func (b *Build) readFiles() {
	for _, f := range b.Files {
		lines := strings.Split(string(f.Data), "\n")
		all := instructions(lines)
		b.read = append(b.read, dockerfile{lines, stages(all), variables(all, "ARG"), variables(all, "ENV")})
	}
}

// dropLines drops locations that lie outside the files, if there are files.
func (b *Build) dropLines() {
	if len(b.read) == 0 {
		return
	}
	for i := range b.Steps {
		b.Steps[i].At = slices.DeleteFunc(b.Steps[i].At, func(at llb.Location) bool {
			return at.File < 0 || at.File >= len(b.read) || max(at.Start, at.End) > len(b.read[at.File].lines)
		})
	}
}

// maxText is the most bytes of a Dockerfile that are returned as the text of one step.
const maxText = 16 << 10

// Text returns the lines that a step comes from, or "" if unknown. If they are too long, it returns the first ones.
func (b *Build) Text(step int) string {
	at, ok := b.Where(step)
	if !ok || at.File < 0 || at.File >= len(b.read) {
		return ""
	}
	lines := b.read[at.File].lines
	start, end := at.Start-1, min(at.End, len(lines))
	if start < 0 || start >= end {
		return ""
	}
	return firstLines(lines[start:end])
}

// firstLines joins the lines that fit into maxText bytes. It cuts no line, except to its keyword: a password may be recognizable only by
// what follows it.
func firstLines(lines []string) string {
	size := 0
	for i, line := range lines {
		if size += len(line) + 1; size <= maxText {
			continue
		}
		if i > 0 {
			return strings.Join(lines[:i], "\n") + "\n…"
		}
		keyword, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		return keyword[:min(len(keyword), len("HEALTHCHECK"))] + " …"
	}
	return strings.Join(lines, "\n")
}

// Where returns the lines that a step comes from, or the first of them if there
// are several, as for an image that several stages begin with.
func (b *Build) Where(step int) (llb.Location, bool) {
	all := b.Steps[step].At
	if len(all) == 0 {
		return llb.Location{}, false
	}
	return slices.MinFunc(all, func(x, y llb.Location) int {
		if x.File != y.File {
			return x.File - y.File
		}
		return x.Start - y.Start
	}), true
}

// FileName returns the name of the file that a location is in.
func (b *Build) FileName(at llb.Location) string {
	if at.File < 0 || at.File >= len(b.Files) {
		return ""
	}
	return b.Files[at.File].Name
}

// Stage is a stage of a Dockerfile: its name, "" for none, and the line where it
// begins.
type Stage struct {
	Name string
	Line int
}

// StageOf returns the stage that a step is in, and false if it is unknown.
func (b *Build) StageOf(step int) (Stage, bool) {
	at, ok := b.Where(step)
	if !ok || at.File < 0 || at.File >= len(b.read) {
		return Stage{}, false
	}
	all := b.read[at.File].stages
	after := sort.Search(len(all), func(i int) bool { return all[i].Line > at.Start })
	if after == 0 {
		return Stage{}, false
	}
	return all[after-1], true
}

var (
	fromLine    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)^\s*FROM\s+(?:--\S+\s+)*\S+(?:\s+AS\s+(\S+))?`) })
	heredoc     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`<<-?\s*["']?([A-Za-z0-9_.]+)["']?`) })
	mayHeredoc  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)^\s*(?:RUN|COPY|ADD|ONBUILD)\s`) })
	commentLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\s*#`) })
	escapeIs    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("(?i)^\\s*#\\s*escape\\s*=\\s*([`\\\\])") })
)

// instruction is one instruction of a Dockerfile, with its lines joined.
type instruction struct {
	line int
	text *strings.Builder
}

// instructions returns the instructions of a Dockerfile, without the contents of heredocs.
func instructions(lines []string) []instruction {
	escape := `\`
	var found []instruction
	var until []string // the delimiters of open heredocs
	goesOn := false
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if len(until) > 0 && !goesOn {
			if strings.TrimLeft(line, "\t") == until[0] {
				until = until[1:]
			}
			continue
		}
		if commentLine().MatchString(line) {
			if m := escapeIs().FindStringSubmatch(line); m != nil {
				escape = m[1]
			}
			continue
		}
		if goesOn || mayHeredoc().MatchString(line) {
			for _, m := range heredoc().FindAllStringSubmatch(line, -1) {
				until = append(until, m[1])
			}
		}
		if !goesOn {
			found = append(found, instruction{line: i + 1, text: &strings.Builder{}})
		}
		line, goesOn = strings.CutSuffix(strings.TrimRight(line, " \t"), escape)
		found[len(found)-1].text.WriteString(line + " ")
	}
	return found
}

// stages finds the stages among the instructions.
func stages(all []instruction) []Stage {
	var found []Stage
	for _, in := range all {
		if m := fromLine().FindStringSubmatch(in.text.String()); m != nil {
			found = append(found, Stage{Name: m[1], Line: in.line})
		}
	}
	return found
}

// Declares reports whether a Dockerfile declares a variable with ARG, and
// whether one declares it with ENV.
func (b *Build) Declares(name string) (arg, env bool) {
	for _, f := range b.read {
		arg = arg || f.args[name]
		env = env || f.env[name]
	}
	return arg, env
}

// variables returns the names that are declared by an instruction such as ARG or ENV.
func variables(all []instruction, keyword string) map[string]bool {
	names := map[string]bool{}
	for _, in := range all {
		words := strings.Fields(in.text.String())
		if len(words) < 2 || !strings.EqualFold(words[0], keyword) {
			continue
		}
		for i, word := range words[1:] {
			name, _, hasValue := strings.Cut(word, "=")
			if i == 0 || hasValue || keyword == "ARG" {
				names[name] = true
			}
		}
	}
	return names
}

// markIgnored marks the steps that no-cache forces to run: those of every stage, or of the stages that it names.
func (b *Build) markIgnored() {
	arg, ok := b.Args["no-cache"]
	if !ok {
		return
	}
	var names []string // unchanged: BuildKit trims none, and an empty one means all stages without a name
	if arg != "" {
		names = strings.Split(arg, ",")
	}
	for i := range b.Steps {
		if !isIgnorable(b.Steps[i].Op) {
			continue
		}
		stage, known := b.StageOf(i)
		b.Steps[i].IgnoreCache = len(names) == 0 || known && slices.ContainsFunc(names, func(name string) bool {
			return strings.EqualFold(name, stage.Name)
		})
	}
}

// isIgnorable reports whether a step is a RUN, a COPY or an ADD. Others stay cached under no-cache.
func isIgnorable(op *llb.Op) bool {
	if op.Exec != nil {
		return true
	}
	return op.File != nil && slices.ContainsFunc(op.File.Actions, func(a *llb.FileAction) bool { return a.Copy != nil })
}
