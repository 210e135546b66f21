package explain

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ocicache/ocicache/explain/llb"
)

// shellField is the field for SHELL in differences put in words: the arguments before the command of a RUN.
const shellField = "shell"

// inShellForm matches a RUN whose arguments are those of SHELL plus one command.
var inShellForm = regexp.MustCompile(`(?is)^RUN\s+(?:--\S+\s+)*[^\s\[-]`)

// withShell replaces the differences of arguments by one of SHELL, if the command is the same.
func (w *words) withShell(step int, diff []Difference) []Difference {
	op := w.build.Steps[step].Op.Exec
	if op == nil || len(op.Meta.Args) == 0 || !inShellForm.MatchString(w.build.Text(step)) {
		return diff
	}
	now := op.Meta.Args
	old := argumentsBefore(op, diff)
	if len(old) < 2 || slices.Equal(old, now) || old[len(old)-1] != now[len(now)-1] {
		return diff
	}
	before, after := strings.Join(old[:len(old)-1], " "), strings.Join(now[:len(now)-1], " ")
	rest := slices.DeleteFunc(slices.Clone(diff), func(d Difference) bool { return argument().MatchString(d.Field) })
	return append([]Difference{{Field: shellField, Old: &before, New: &after, word: "SHELL"}}, rest...)
}

// argumentsBefore returns the arguments of an operation before some differences, nil if they can't be told.
func argumentsBefore(op *llb.ExecOp, diff []Difference) []string {
	old := slices.Clone(op.Meta.Args)
	for _, d := range diff {
		if !argument().MatchString(d.Field) {
			continue
		}
		at, err := strconv.Atoi(d.Field[len("args[") : len(d.Field)-1])
		const most = 1000
		if err != nil || at > most || d.Old == nil && d.New == nil {
			return nil
		}
		for at >= len(old) {
			old = append(old, "")
		}
		if old[at] = ""; d.Old != nil {
			old[at] = *d.Old
		}
	}
	gone := 0 // new arguments are at the end
	for _, d := range diff {
		if argument().MatchString(d.Field) && d.Old == nil {
			gone++
		}
	}
	return old[:len(old)-gone]
}
