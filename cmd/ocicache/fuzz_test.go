package main

import (
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzClean makes any text fit for a place in a line: what comes out is printable, is one line, and stays as it is.
func FuzzClean(f *testing.F) {
	for _, text := range []string{"", "plain\nnext", "\x1b[31mred", "\u009b2J\u202eevil", "bad \xff byte, \ufffd", "\xe2\x80", "\u2028\u00ad\U000e0001"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := clean(text)
		if !utf8.ValidString(got) || clean(got) != got {
			t.Errorf("%q becomes %q, and that %q", text, got, clean(got))
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("%q keeps %U", text, r)
			}
		}
	})
}
