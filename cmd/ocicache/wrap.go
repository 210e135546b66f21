package main

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// wrap breaks text into lines no wider than width. Lines of a paragraph, which begin with no space, are joined first.
func wrap(text string, width int) string {
	var out []string
	for _, line := range strings.Split(unwrap(text), "\n") {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		out = append(out, wrapLine(line, width, indent))
	}
	return strings.Join(out, "\n")
}

// unwrap joins the lines of each paragraph.
func unwrap(text string) string {
	lines := strings.Split(text, "\n")
	out := lines[:1:1]
	for i, line := range lines[1:] {
		last := lines[i]
		if line == "" || last == "" || line[0] == ' ' || last[0] == ' ' {
			out = append(out, line)
			continue
		}
		out[len(out)-1] += " " + line
	}
	return strings.Join(out, "\n")
}

// wholePattern matches what is to be copied despite its spaces: a command in quotes, and the option that imports a cache.
var wholePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`'(?:ocicache|docker|podman|skopeo|buildctl|pack) [^']*'|"buildctl [^"]*"|--cache-from [^ ]+|` + "`[^`]*`")
})

// heldSpace replaces a space at which the line must not be broken.
const heldSpace = "\u00a0"

// holdWhole keeps lines from being broken inside what is to be copied.
func holdWhole(line string) string {
	return wholePattern().ReplaceAllStringFunc(line, func(whole string) string { return strings.ReplaceAll(whole, " ", heldSpace) })
}

// wrapLine breaks a line at spaces, and indents continuation lines by hang. A word stays whole, even if the terminal has to break
// it: it may be a path or a reference to copy. So does a command in quotes.
func wrapLine(line string, width, hang int) string {
	return strings.ReplaceAll(wrapWords(holdWhole(line), width, hang), heldSpace, " ")
}

func wrapWords(line string, width, hang int) string {
	var out strings.Builder
	for utf8.RuneCountInString(line) > width {
		runes := []rune(line)
		start := slices.IndexFunc(runes, func(r rune) bool { return r != ' ' })
		at := -1
		for i := max(start, 0); i < len(runes) && (i <= width || at < 0); i++ {
			if runes[i] == ' ' && i > start {
				at = i
			}
		}
		if at < 0 {
			break
		}
		out.WriteString(strings.TrimRight(string(runes[:at]), " ") + "\n")
		line = strings.Repeat(" ", hang) + strings.TrimLeft(string(runes[at:]), " ")
	}
	return out.String() + line
}
