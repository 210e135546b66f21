package main

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/layout"
)

// tagFilter chooses tags by shell patterns.
type tagFilter struct{ match, exclude []string }

func (f *tagFilter) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.match, "match", nil, "only tags that match this shell `PATTERN`; * matches / too")
	cmd.Flags().StringArrayVar(&f.exclude, "exclude", nil, "leave out tags that match this shell `PATTERN`")
}

// matcher returns a function that reports whether a tag is chosen, nil if all are.
func (f tagFilter) matcher() (func(string) bool, error) {
	if err := errors.Join(checkPatterns("match", f.match), checkPatterns("exclude", f.exclude)); err != nil || len(f.match)+len(f.exclude) == 0 {
		return nil, err
	}
	return func(tag string) bool {
		return (len(f.match) == 0 || matchesAny(f.match, tag)) && !matchesAny(f.exclude, tag)
	}, nil
}

// checkEach fails if one of several --match chooses nothing that is there. The entries must have been classified.
func (f tagFilter) checkEach(src layout.Source, entries []layout.Entry) error {
	for _, pattern := range f.match {
		if !chosenBy([]string{pattern}, entries) {
			return noMatch(src, entries, []string{pattern})
		}
	}
	return nil
}

// checkAny fails if no --match chooses anything. It is for commands that remove tags, which may run again after an interruption.
func (f tagFilter) checkAny(src layout.Source, entries []layout.Entry) error {
	if len(f.match) == 0 || chosenBy(f.match, entries) {
		return nil
	}
	return noMatch(src, entries, f.match)
}

func chosenBy(patterns []string, entries []layout.Entry) bool {
	return slices.ContainsFunc(entries, func(e layout.Entry) bool { return matchesAny(patterns, e.Tag) })
}

func noMatch(src layout.Source, entries []layout.Entry, patterns []string) error {
	tags := layout.TagsOf(entries, func(k layout.Kind) bool { return k == layout.KindCache })
	err := &layout.NotFoundError{Place: src.String(), Tag: strings.Join(patterns, ", "), Tags: tags}
	if at := slices.IndexFunc(patterns, isRegexp); at >= 0 {
		return &regexpError{patterns[at], tags, err}
	}
	return err
}

// regexpError says that a pattern that matches nothing looks like a regular expression.
type regexpError struct {
	pattern string
	tags    []string // that are there
	err     error
}

func (e *regexpError) Error() string { return e.err.Error() }
func (e *regexpError) Unwrap() error { return e.err }

// isRegexp reports whether text looks like a regular expression. Of these characters, tags only have the dot. "]*" is fine in shell
// patterns.
func isRegexp(pattern string) bool {
	return strings.ContainsAny(pattern, "^$()|{}\\") || slices.ContainsFunc([]string{".*", ".+", "]+"}, func(part string) bool {
		return strings.Contains(pattern, part)
	})
}

// shellPattern translates a simple regular expression to a shell pattern. For others it returns an example that begins as the
// expression does or, if that begins with nothing in particular, one of the tags.
func shellPattern(expression string, tags []string) string {
	pattern := strings.NewReplacer("^", "", "$", "", ".*", "*", ".+", "?*", `\.`, ".", "]+", "]*").Replace(expression)
	if pattern != "" && !isRegexp(pattern) {
		return pattern
	}
	expression = strings.TrimPrefix(expression, "^")
	switch at := strings.IndexAny(expression, "^$()|{}\\[]*+?."); {
	case at > 0:
		return expression[:at] + "*"
	case len(tags) > 0:
		return tags[0]
	}
	return "*"
}

// noneLeft says why no cache is chosen: --exclude leaves out every cache, or --match chooses only other entries.
func (f tagFilter) noneLeft(src layout.Source, entries []layout.Entry) error {
	matched := func(e layout.Entry) bool { return mayBeCache(e) && matchesAny(f.match, e.Tag) }
	if len(f.match) > 0 && !slices.ContainsFunc(entries, matched) {
		return noMatch(src, entries, f.match)
	}
	return &allExcludedError{place: src.String(), exclude: f.exclude}
}

// allExcludedError says that --exclude leaves out everything that would otherwise be chosen.
type allExcludedError struct {
	place   string
	exclude []string
}

func (e *allExcludedError) Error() string {
	return fmt.Sprintf("%s: --exclude %s leaves out every cache", e.place, strings.Join(e.exclude, ", "))
}

// checkPatterns rejects invalid patterns.
func checkPatterns(flag string, patterns []string) error {
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("--%s %q: %w", flag, pattern, err)
		}
		if strings.HasPrefix(pattern, "!") {
			return fmt.Errorf("--%s %q: no tag starts like that; to leave tags out, use --exclude %q", flag, pattern, pattern[1:])
		}
	}
	return nil
}

func matchesAny(patterns []string, tag string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, tag) })
}

// matches reports whether a tag matches a valid pattern. In tags, unlike in paths, a slash is an ordinary character.
func matches(pattern, tag string) bool {
	const slash = "\uffff" // replaces a slash; no tag contains it
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", slash), strings.ReplaceAll(tag, "/", slash))
	return ok && err == nil
}
