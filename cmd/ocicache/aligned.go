package main

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"
)

// tableKept is how many bytes of a table are kept in memory until its columns are known. A longer one is measured, and then written row by
// row, so that a table of many rows takes no more memory than one of few.
const tableKept = 64 << 10

// eachLine calls a function with each line that is written to it, without its end.
type eachLine struct {
	do   func(line []byte)
	rest []byte // of a line that is not whole yet
}

func (l *eachLine) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, whole := bytes.Cut(p, []byte{'\n'})
		if l.rest = append(l.rest, line...); !whole {
			return n, nil
		}
		l.do(l.rest)
		l.rest, p = l.rest[:0], rest
	}
}

// end is for the last line, where it has no end of its own.
func (l *eachLine) end() {
	if len(l.rest) > 0 {
		l.do(l.rest)
		l.rest = l.rest[:0]
	}
}

// measured are the rows of a table, as long as there are few, and how wide its columns are.
type measured struct {
	eachLine
	kept   bytes.Buffer
	long   bool  // there are too many rows to be kept
	widths []int // of the columns
	ragged bool  // not all rows have as many columns, so that these are not as wide in all of them
}

func measure(write func(io.Writer)) *measured {
	m := &measured{}
	m.do = m.add
	write(m)
	m.end()
	return m
}

func (m *measured) add(line []byte) {
	if m.kept.Len()+len(line) > tableKept {
		m.long = true
		m.kept = bytes.Buffer{}
	}
	if !m.long {
		m.kept.Write(line)
		m.kept.WriteByte('\n')
	}
	first, column := m.widths == nil, 0
	for cell := range bytes.SplitSeq(line, []byte{'\t'}) {
		if first {
			m.widths = append(m.widths, 0)
		}
		if column < len(m.widths) {
			m.widths[column] = max(m.widths[column], utf8.RuneCount(cell))
		}
		column++
	}
	m.ragged = m.ragged || column != len(m.widths) || bytes.ContainsAny(line, "\v\f")
}

// writeAligned writes rows whose columns were measured, as text/tabwriter does, which would keep all of them.
func writeAligned(w io.Writer, widths []int, write func(io.Writer)) error {
	var failed error
	var out bytes.Buffer
	rows := &eachLine{do: func(line []byte) {
		out.Reset()
		column := 0
		for cell := range bytes.SplitSeq(line, []byte{'\t'}) {
			out.Write(cell)
			if pad := widths[column] + gap - utf8.RuneCount(cell); column < len(widths)-1 {
				out.Write(bytes.Repeat([]byte{' '}, pad))
			}
			column++
		}
		_, err := w.Write(append(bytes.TrimRight(out.Bytes(), " "), '\n'))
		failed = errors.Join(failed, err)
	}}
	write(rows)
	rows.end()
	return failed
}
