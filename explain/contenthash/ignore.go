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

// IgnoreName is the name of the file that says which files are not sent. The file for one Dockerfile has that Dockerfile's name in front.
const IgnoreName = ".dockerignore"

// ReadIgnore reads the patterns from a file in a directory as BuildKit's frontend does, and returns none if the file does not
// exist. It fails where a build would: on a line that is no pattern.
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

// badLine returns an error for the first line that is no pattern, or nil.
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

// CleanIgnore returns patterns as they would be read from a file.
func CleanIgnore(patterns []string) ([]string, error) {
	return ignorefile.ReadAll(strings.NewReader(strings.Join(patterns, "\n")))
}

// Ignores are the patterns of files that are not sent.
type Ignores struct {
	matcher *patternmatcher.PatternMatcher
}

// NewIgnores compiles patterns that many paths are to be matched against.
func NewIgnores(patterns []string) (Ignores, error) {
	m, err := matcher(patterns)
	return Ignores{m}, err
}

// LeaveOut reports whether a path is not sent, because of itself or of a directory above it.
func (i Ignores) LeaveOut(path string) (bool, error) {
	if i.matcher == nil {
		return false, nil
	}
	return i.matcher.MatchesOrParentMatches(filepath.FromSlash(path))
}
