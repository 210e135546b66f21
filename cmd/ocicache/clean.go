package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text fit for a terminal, whoever wrote parts of it: what could move the cursor, change colours or hide
// text is written as \xNN or \uNNNN. Lines stay.
func clean(text string) string {
	var out strings.Builder
	for i, r := range text {
		switch {
		case r == '\n':
			out.WriteByte('\n')
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
