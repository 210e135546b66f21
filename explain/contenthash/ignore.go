package contenthash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// IgnoreName is what a file that says which files are not sent is called; that of one Dockerfile has its name in front.
const IgnoreName = ".dockerignore"

// ReadIgnore reads the patterns of a file in a directory, as BuildKit's frontend does; none where it is not there.
func ReadIgnore(dir, name string) (patterns []string, err error) {
	file, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if patterns, err = ignorefile.ReadAll(file); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return patterns, nil
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
