package explain

import (
	"fmt"
	"path"
	"strings"

	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
)

// words says things about one build.
type words struct {
	build    *provenance.Build
	redact   bool
	contexts Contexts
	old      []*provenance.Build
}

// title returns a step in one line, or only its kind if values are hidden.
func (w *words) title(step int) string {
	title := Title(w.build, step)
	if !w.redact {
		return title
	}
	return redactedTitle(title, w.build.Steps[step].Op)
}

// where returns the file and the lines that a step comes from.
func (w *words) where(step int) string {
	at, ok := w.build.Where(step)
	if !ok {
		return ""
	}
	if at.End > at.Start {
		return fmt.Sprintf("%s:%d-%d", w.build.FileName(at), at.Start, at.End)
	}
	return fmt.Sprintf("%s:%d", w.build.FileName(at), at.Start)
}

// context returns the name of a local source, "" for any other step.
func (w *words) context(step int) string {
	if source := w.build.Steps[step].Op.Source; source != nil && source.IsLocal() {
		_, name := source.Scheme()
		return name
	}
	return ""
}

// contentTitle names the files of a step that another one takes.
func (w *words) contentTitle(n Name) string { return w.files(n.Paths) + " of " + w.origin(n.Step) }

// files names the selected files.
func (w *words) files(paths []llb.Selection) string {
	if len(paths) == 0 {
		return "all files"
	}
	return strings.Join(w.paths(paths), ", ")
}

func pathsOf(paths []llb.Selection) []string {
	var all []string
	for _, p := range paths {
		names := []string{path.Join("/", p.Path)}
		if len(p.Include) > 0 {
			names = nil
			for _, pattern := range p.Include {
				names = append(names, path.Join("/", p.Path, pattern))
			}
		}
		all = append(all, names...)
	}
	return all
}

// origin names where files come from: a directory, a stage, an image.
func (w *words) origin(step int) string {
	source := w.build.Steps[step].Op.Source
	if source == nil {
		if stage, ok := w.build.StageOf(step); ok && stage.Name != "" {
			return "stage " + stage.Name
		} else if ok {
			return fmt.Sprintf("the stage of line %d", stage.Line)
		}
		return w.title(step)
	}
	_, name := source.Scheme()
	switch {
	case source.IsLocal() && name == mainContext:
		return "the context"
	case source.IsLocal():
		return "context " + name
	default:
		return w.title(step)
	}
}
