package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine is how many bytes of a line of an error are shown, because others' text may be in it.
const maxLine = 4 << 10

// brief shortens the long lines of an error, and says how much is left out.
func brief(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		rest, end := strings.CutSuffix(line, "\n")
		if left := len(rest) - maxLine; left > 0 {
			rest = fmt.Sprintf("%s... (%d bytes left out) ...%s", rest[:maxLine/2], left, rest[len(rest)-maxLine/2:])
		}
		out.WriteString(rest)
		if end {
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// say writes to a result. Only format decides where lines and columns end: arguments, such as tags, media types and
// error texts, can't.
func say(w io.Writer, format string, args ...any) {
	for i, arg := range args {
		switch arg.(type) {
		case int, int64:
		default:
			args[i] = clean(fmt.Sprint(arg))
		}
	}
	fmt.Fprintf(w, format, args...)
}

// sayRow writes one line of a table.
func sayRow(w io.Writer, columns ...string) {
	for i, column := range columns {
		columns[i] = clean(column)
	}
	fmt.Fprintf(w, "  %s\n", strings.Join(columns, "\t"))
}

// clean makes text from anyone safe for one line: whatever could end the line, move the cursor, change colours or hide
// text is written as \xNN or \uNNNN.
func clean(text string) string {
	var out strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&out, "\\x%02x", text[i])
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&out, "\\x%02x", r)
		default:
			fmt.Fprintf(&out, "\\u%04x", r)
		}
	}
	return out.String()
}

// cleanError is brief and clean for an error's text, which may have several lines. All lines but the first are indented, so that
// none can be taken for one of ours.
func cleanError(err error) string {
	lines := strings.Split(brief(err.Error()), "\n")
	for i, line := range lines {
		if lines[i] = clean(line); i > 0 && !strings.HasPrefix(line, " ") {
			lines[i] = "  " + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// lineWriter takes one line at a time and cleans it.
type lineWriter struct{ io.Writer }

func (w lineWriter) Write(line []byte) (int, error) {
	text, ended := strings.CutSuffix(string(line), "\n")
	text = clean(text)
	if ended {
		text += "\n"
	}
	if _, err := io.WriteString(w.Writer, text); err != nil {
		return 0, err
	}
	return len(line), nil
}
