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

// FuzzParseSize reads any text as a size. What is taken is one that a volume can have.
func FuzzParseSize(f *testing.F) {
	for _, text := range []string{"", "4GB", "650MiB", "1000000", "1.5 kb", "0", "-1", "1e30", "99999999999PB", "1,000", "NaN", "9223372036854775807"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if size, err := parseSize(text); err == nil && size < 1 || err != nil && size != 0 {
			t.Errorf("%q: %d, %v", text, size, err)
		}
	})
}
