package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"text/tabwriter"
)

// TestLongTables aligns tables of any length as text/tabwriter does, and writes those that are long row by row.
func TestLongTables(t *testing.T) {
	t.Parallel()
	regular := func(n int) func(io.Writer) {
		return func(w io.Writer) {
			for i := range n {
				say(w, "tag-%d\t%s\t", i, strings.Repeat("ü", i%7)) // a row may come in parts
				say(w, "%s\t%d B\n", strings.Repeat("x", i%3), i)
			}
		}
	}
	ragged := func(n int) func(io.Writer) {
		return func(w io.Writer) {
			for i := range n {
				fmt.Fprintf(w, "tag-%d%s%s\n", i, strings.Repeat("\tcell", i%4), strings.Repeat("x", i%5))
			}
		}
	}
	const rows = 5000
	tables := map[string]func(io.Writer){
		"none": func(io.Writer) {}, "few": regular(10), "many": regular(rows), "few ragged": ragged(10), "many ragged": ragged(rows),
		"no end": func(w io.Writer) { regular(rows)(w); _, _ = io.WriteString(w, "the\tlast\tone\there") },
	}
	for name, write := range tables {
		var want strings.Builder
		aligned := tabwriter.NewWriter(&want, 0, 0, gap, ' ', 0)
		write(aligned)
		if err := aligned.Flush(); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(want.String()) {
			lines = append(lines, strings.TrimRight(line, " \n")+"\n")
		}
		got := &longest{}
		if err := table(got, write); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.String() != strings.Join(lines, "") {
			t.Errorf("%s: got\n%.500s\nwant\n%.500s", name, got, strings.Join(lines, ""))
		}
		if got.most > 200 {
			t.Errorf("%s: %d bytes were written at once", name, got.most)
		}
	}
	m := measure(regular(rows))
	if !m.long || m.ragged || m.kept.Cap() > 0 {
		t.Errorf("long %v, ragged %v, %d bytes are kept", m.long, m.ragged, m.kept.Cap())
	}
}

// longest knows how much was written to it at once.
type longest struct {
	bytes.Buffer
	most int
}

func (l *longest) Write(p []byte) (int, error) {
	l.most = max(l.most, len(p))
	return l.Buffer.Write(p)
}

func (l *longest) WriteString(text string) (int, error) { return l.Write([]byte(text)) }
