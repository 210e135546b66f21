package contenthash

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// IgnoreName is what a file that says which files are not sent is called; that of one Dockerfile has its name in front.
const IgnoreName = ".dockerignore"

// ReadIgnore reads the patterns of a file in a directory, as BuildKit's frontend does; none where it is not there. It fails where a
// build would: with a line that is no pattern.
func ReadIgnore(dir, name string) ([]string, error) {
	data, err := ReadInside(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if _, err := matcher(patterns); err != nil {
		return nil, cmp.Or(badLine(data), err)
	}
	return patterns, nil
}

// badLine says which line is no pattern, nil if each is one.
func badLine(data []byte) error {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		patterns, err := ignorefile.ReadAll(bytes.NewReader(line))
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if _, err := patternmatcher.New(patterns); err != nil {
			return fmt.Errorf("line %d is no pattern: %w", n, err)
		}
	}
	return nil
}

// CleanIgnore returns patterns as a file with them would be read.
func CleanIgnore(patterns []string) ([]string, error) {
	return ignorefile.ReadAll(strings.NewReader(strings.Join(patterns, "\n")))
}

// Ignores are the patterns of files that are not sent.
type Ignores struct {
	matcher *patternmatcher.PatternMatcher
}

// NewIgnores returns patterns for asking about many paths.
func NewIgnores(patterns []string) (Ignores, error) {
	m, err := matcher(patterns)
	return Ignores{m}, err
}

// LeaveOut reports whether a path is not sent, by itself or with a directory above it.
func (i Ignores) LeaveOut(path string) (bool, error) {
	if i.matcher == nil {
		return false, nil
	}
	return i.matcher.MatchesOrParentMatches(filepath.FromSlash(path))
}
