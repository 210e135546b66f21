package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/term"
)

// page collects a result as text for a terminal, where no line may be wider than the terminal. Text for anything else keeps its width.
type page struct {
	bytes.Buffer
	width    int      // of the terminal; 0 to leave text as wide as it is
	verbatim []string // lines to copy, which stay as they are
}

// widthOf returns how many columns a terminal has, and 0 for anything else.
func widthOf(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width <= 0 {
		return helpWidth
	}
	return max(width, minWidth)
}

// isNarrow reports whether text goes to a terminal with fewer columns.
func isNarrow(w io.Writer, columns int) bool {
	p, ok := w.(*page)
	return ok && p.width > 0 && p.width < columns
}

// minWidth is the least width that a terminal is taken to have.
const minWidth = 40

// text returns what was written, in lines that fit.
func (p *page) text() string {
	if p.width == 0 {
		return p.String()
	}
	lines := strings.Split(p.String(), "\n")
	for i, line := range lines {
		if slices.Contains(p.verbatim, line) {
			continue
		}
		line = shorten(line)
		indent := len(line) - len(strings.TrimLeft(line, " "))
		lines[i] = wrapLine(line, p.width, min(indent+2, p.width/2))
	}
	return strings.Join(lines, "\n")
}

// sayCommand writes a line to be copied to a shell.
func sayCommand(w io.Writer, command string) {
	line := "  " + clean(command)
	if p, ok := w.(*page); ok {
		p.verbatim = append(p.verbatim, line)
	}
	_, _ = io.WriteString(w, line+"\n")
}

// digestPattern matches a digest that is a word of its own. One that is part of a reference or an option is to be copied.
var digestPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(^|[\s(])(sha(?:256|384|512):[0-9a-f]{12})[0-9a-f]{20,}`)
})

// shorten cuts digests to a part that still finds them; --json and non-terminals get the whole digests.
func shorten(line string) string { return digestPattern().ReplaceAllString(line, "$1$2") }

// columns say what to do with a table with a header if it is too wide.
type columns struct {
	drop []string // leave these out, one by one
	cut  string   // then shorten the cells of this one
}

// table writes rows whose columns are separated by tabs. If a terminal is too narrow, the last column is wrapped, or rows are
// stacked.
func table(w io.Writer, write func(io.Writer)) error {
	return writeRows(w, write, func(t *rows, width int) {
		if !t.breakLast(width) {
			t.stack(nil)
		}
	})
}

// tableOf writes rows below a header. If a terminal is too narrow, less important columns are left out, or rows are stacked.
func tableOf(w io.Writer, c columns, write func(io.Writer)) error {
	return writeRows(w, write, func(t *rows, width int) {
		for _, name := range c.drop {
			if t.width() <= width {
				return
			}
			t.drop(t.column(name))
		}
		if t.width() > width && !t.cut(t.column(c.cut), width) {
			t.stack((*t)[0])
		}
	})
}

func writeRows(w io.Writer, write func(io.Writer), narrow func(t *rows, width int)) error {
	if p, ok := w.(*page); ok {
		var raw bytes.Buffer
		write(&raw)
		return align(w, []byte(fitted(shorten(raw.String()), p.width, narrow)))
	}
	m := measure(write)
	switch {
	case !m.long:
		return align(w, m.kept.Bytes())
	case !m.ragged:
		return writeAligned(w, m.widths, write)
	}
	var raw bytes.Buffer
	write(&raw)
	return align(w, raw.Bytes())
}

// align writes rows whose columns are separated by tabs.
func align(w io.Writer, text []byte) error {
	var aligned strings.Builder
	t := tabwriter.NewWriter(&aligned, 0, 0, gap, ' ', 0)
	if _, err := t.Write(text); err != nil {
		return err
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(aligned.String()) { // empty cells leave spaces
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// gap is how many spaces there are between columns.
const gap = 2

// rows are the cells of a table.
type rows [][]string

func fitted(text string, width int, narrow func(t *rows, width int)) string {
	var t rows
	for line := range strings.Lines(text) {
		t = append(t, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	if len(t) == 0 || t.width() <= width {
		return text
	}
	narrow(&t, width)
	var out strings.Builder
	for _, row := range t {
		out.WriteString(strings.Join(row, "\t") + "\n")
	}
	return out.String()
}

// widths returns the widths of the columns.
func (t rows) widths() []int {
	var widths []int
	for _, row := range t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 || len(row) > 1 { // a line without columns is not part of the table
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	return widths
}

func (t rows) width() int {
	total := -gap
	for _, n := range t.widths() {
		total += n + gap
	}
	return total
}

// column returns the index of a column by its header, or less than 0.
func (t rows) column(name string) int {
	return slices.IndexFunc(t[0], func(cell string) bool { return name != "" && strings.TrimSpace(cell) == name })
}

func (t rows) drop(column int) {
	for i, row := range t {
		if column >= 0 && column < len(row) {
			t[i] = slices.Delete(row, column, column+1)
		}
	}
}

// leastCut is the least that is left of a cell, in characters.
const leastCut = 16

// cut shortens the cells of a column, if enough of them is left.
func (t rows) cut(column, width int) bool {
	if column < 0 {
		return false
	}
	left := t.widths()[column] - (t.width() - width)
	if left < leastCut {
		return false
	}
	for _, row := range t {
		if column < len(row) {
			if cell := []rune(row[column]); len(cell) > left {
				row[column] = string(cell[:left-1]) + "…"
			}
		}
	}
	return true
}

// breakLast wraps the last column, if it stays wide enough to read.
func (t *rows) breakLast(width int) bool {
	widths := t.widths()
	last := len(widths) - 1
	left := width
	for _, n := range widths[:max(last, 0)] {
		left -= n + gap
	}
	if last < 1 || left < max(leastCut, width/3) {
		return false
	}
	var out rows
	for _, row := range *t {
		if len(row) <= last {
			out = append(out, row)
			continue
		}
		for i, line := range strings.Split(wrapLine(row[last], left, 0), "\n") {
			if i > 0 {
				row = make([]string, last+1)
			}
			row[last] = line
			out = append(out, slices.Clone(row))
		}
	}
	*t = out
	return true
}

// stack puts the cells of a row below its first one: each on a line with its header, or without a header all on one line.
func (t *rows) stack(header []string) {
	var out rows
	for i, row := range *t {
		if header != nil && i == 0 {
			continue
		}
		if len(row) == 1 {
			out = append(out, row)
			continue
		}
		indent := strings.Repeat(" ", len(row[0])-len(strings.TrimLeft(row[0], " "))+gap)
		out = append(out, []string{row[0]})
		if header == nil {
			out = append(out, []string{indent + strings.Join(row[1:], "  ")})
			continue
		}
		for j, cell := range row[1:] {
			switch {
			case cell == "" || cell == "-":
			case j+1 < len(header) && header[j+1] != "":
				out = append(out, []string{indent + strings.ToLower(header[j+1]), cell})
			}
		}
	}
	*t = out
}
