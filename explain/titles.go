package explain

import (
	"regexp"
	"strings"
	"sync"

	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
)

// Title returns a step in one line: what the Dockerfile says, or else what the
// operation is. It may contain whatever the build's author wrote, except users,
// passwords and queries of addresses.
func Title(b *provenance.Build, step int) string {
	return withoutSecrets(titleOf(b, step))
}

func titleOf(b *provenance.Build, step int) string {
	s := &b.Steps[step]
	if text := b.Text(step); text != "" && (s.Op.Source == nil || s.Op.Source.IsImage()) {
		return withImage(oneLine(text), s.Op.Source)
	}
	if s.Name != "" {
		return s.Name
	}
	op := s.Op
	switch {
	case op.Source != nil:
		return op.Source.Identifier
	case op.Exec != nil:
		return "exec " + oneLine(strings.Join(op.Exec.Meta.Args, " "))
	case op.File != nil:
		return "file " + actions(op.File)
	default:
		return op.Kind()
	}
}

var fromImage = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)^(FROM\s+(?:--\S+\s+)*)(\S*\$\S*)`) })

// withImage replaces a variable in FROM by the image that it stood for.
func withImage(text string, source *llb.SourceOp) string {
	m := fromImage().FindStringSubmatch(text)
	if m == nil || source == nil || !source.IsImage() {
		return text
	}
	return m[1] + strings.TrimPrefix(sourceName(source), "docker-image://") + text[len(m[0]):]
}

func actions(f *llb.FileOp) string {
	var all []string
	for _, a := range f.Actions {
		switch {
		case a.Copy != nil:
			all = append(all, "copy "+a.Copy.Src+" "+a.Copy.Dest)
		case a.Mkfile != nil:
			all = append(all, "mkfile "+a.Mkfile.Path)
		case a.Mkdir != nil:
			all = append(all, "mkdir "+a.Mkdir.Path)
		case a.Rm != nil:
			all = append(all, "rm "+a.Rm.Path)
		case a.Symlink != nil:
			all = append(all, "symlink "+a.Symlink.Newpath)
		default:
			all = append(all, "unknown action")
		}
	}
	return strings.Join(all, ", ")
}

var hereBody = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`<<-?\s*["']?[A-Za-z0-9_.]+["']?`) })

// oneLine joins lines that end in a backslash, as a shell does; otherwise it takes only the first line. If that begins a
// heredoc, the heredoc's first line follows, to distinguish it from others.
func oneLine(text string) string {
	var b strings.Builder
	here := false
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if here && line == "" {
			continue
		}
		goesOn := strings.HasSuffix(line, `\`)
		b.WriteString(strings.TrimSpace(strings.TrimSuffix(line, `\`)))
		if !goesOn && (here || !hereBody().MatchString(b.String())) {
			break
		}
		here = !goesOn
		b.WriteString(" ")
	}
	return strings.TrimSpace(b.String())
}

// describe names a step for the comparison of inputs.
func (p *plan) describe(step int) string {
	if source := p.Steps[step].Op.Source; source != nil {
		return sourceName(source)
	}
	if stage, ok := p.StageOf(step); ok && stage.Name != "" {
		return "stage " + stage.Name
	}
	return Title(p.Build, step)
}
