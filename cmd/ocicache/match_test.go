package main

import "testing"

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, tag string
		want         bool
	}{
		{"*", "main", true},
		{"*", "feature/x", true},
		{"*", "", true},
		{"feature/*", "feature/x/y", true},
		{"feature?x", "feature/x", true},
		{"feature[/]x", "feature/x", true},
		{"release-*", "release-1", true},
		{"release-*", "main", false},
		{"feature/x", "feature-x", false},
		{"main", "main/x", false},
	} {
		if got := matches(test.pattern, test.tag); got != test.want {
			t.Errorf("%q matches %q: %v", test.pattern, test.tag, got)
		}
	}
}
