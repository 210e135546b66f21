package main

import (
	"io"
	"os"
	"regexp"
	"sync"
)

// inColour reports whether output may be coloured: on a terminal with colours, unless NO_COLOR is set and not empty.
func inColour(w io.Writer) bool {
	return widthOf(w) > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// The colours: for failures, warnings and the two sides of a difference. Everything else has none.
const (
	red, yellow, green, plain = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[0m"
)

// painter gives a colour to what a pattern matches.
type painter struct {
	*regexp.Regexp
	colour string
}

var painted = sync.OnceValue(func() []painter {
	return []painter{
		{regexp.MustCompile(`(?m)^(?:ocicache: )?error:|\b(?:FAILED|MISSING|NOT REPAIRED|NOT DELETED)\b`), red},
		{regexp.MustCompile(`(?m)^warning:`), yellow},
		{regexp.MustCompile(`(?m)^- .*$`), red},
		{regexp.MustCompile(`(?m)^\+ .*$`), green},
		{regexp.MustCompile(`(?m)^~ .*$`), yellow},
	}
})

// paint gives text its colours.
func paint(text string) string {
	for _, p := range painted() {
		text = p.ReplaceAllString(text, p.colour+"${0}"+plain)
	}
	return text
}
