package main

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"
)

// tableKept is how many bytes of a table are kept in memory until its column widths are known. A longer table is measured first and then
// written row by row, so that its memory does not grow with its rows.
const tableKept = 64 << 10

// eachLine calls a function with each line written to it, without the newline.
type eachLine struct {
	do   func(line []byte)
	rest []byte // an incomplete line
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

// end passes on the last line if it lacks a newline.
func (l *eachLine) end() {
	if len(l.rest) > 0 {
		l.do(l.rest)
		l.rest = l.rest[:0]
	}
}

// measured holds the rows of a table while they are few, and the widths of its columns.
type measured struct {
	eachLine
	kept   bytes.Buffer
	long   bool  // there are too many rows to keep
	widths []int // of the columns
	ragged bool  // rows differ in their number of columns, so widths can't hold for all of them
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

// writeAligned writes rows of measured columns as text/tabwriter would, which keeps all rows in memory.
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
