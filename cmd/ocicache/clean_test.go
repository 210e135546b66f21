package main

import "testing"

func TestClean(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{text: "plain, ümlaut, 漢字\nnext line", want: "plain, ümlaut, 漢字\nnext line"},
		{text: "\x1b[31mred", want: `\x1b[31mred`},
		{text: "a\rb\tc\x00\x7f", want: `a\x0db\x09c\x00\x7f`},
		{text: "\u009b2J\u202eevil", want: `\u009b2J\u202eevil`},
		{text: "bad \xff byte, \ufffd", want: `bad \xff byte, ` + "\ufffd"},
	} {
		if got := clean(test.text); got != test.want {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}
