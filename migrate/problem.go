package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is something wrong with a plan.
type Problem struct {
	Line   int    `json:"line,omitempty"` // from 1; 0 if the problem is about the whole plan
	Column int    `json:"column,omitempty"`
	Text   string `json:"text"`
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.Text
	}
	return fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Text)
}

// PlanError lists everything that is wrong with a plan. Nothing was done.
type PlanError struct {
	Name     string // of the file
	Problems []Problem
}

func (e *PlanError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	if len(lines) == 1 {
		return "plan " + e.Name + ": " + lines[0]
	}
	return fmt.Sprintf("plan %s: %d problems:\n  %s", e.Name, len(lines), strings.Join(lines, "\n  "))
}

// sorted returns the problems in the order of the plan.
func (d *decoder) sorted() []Problem {
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return d.problems
}
