package explain

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/llb"
)

// FileChange is a file that has changed since the cache was made.
type FileChange struct {
	Path   string `json:"path"`
	Change Change `json:"change"`
	Ignore string `json:"ignore,omitempty"` // the name of the ignore file that leaves it out, or did
}

// Change is what happened to a file.
type Change string

// The changes.
const (
	ChangeContent Change = "content"
	ChangeAny     Change = "content or mode" // of an archive that may have been unpacked
	ChangeMode    Change = "mode"
	ChangeType    Change = "type"
	ChangeTarget  Change = "target" // of a symbolic link
	ChangeAdded   Change = "added"
	ChangeRemoved Change = "removed"
	ChangeIgnored Change = "ignored" // it exists, and .dockerignore leaves it out
	// ChangeUnignored is a file that .dockerignore left out before, whether or not it existed then.
	ChangeUnignored Change = "no longer ignored"
)

// changedFiles compares the files that a step copies with those that it copied when a record was made. It returns nil
// if it can't tell: the record's layers must hold what was copied, and the files that are copied now must be
// available.
func (r *reasons) changedFiles(ctx context.Context, out output, record, source int) ([]FileChange, error) {
	op := r.plan.Steps[out.step].Op
	if r.layers == nil || op.File == nil || !r.plan.steps[source].local {
		return nil, nil
	}
	tree, err := r.contents.locals.tree(source, r.plan.Steps[source].Op.Source)
	if err != nil {
		return nil, nil //nolint:nilerr // nobody has the files; the cause says that they differ, and not how
	}
	results := r.results(record)
	if len(results) == 0 {
		return nil, nil
	}
	was, err := r.layers.files(ctx, results[0])
	if err != nil {
		return nil, unlessGone(ctx)
	}
	top, err := r.layers.over(ctx, contenthash.Scratch(), []int{results[0].top})
	if err != nil {
		return nil, unlessGone(ctx)
	}
	c := comparison{was: was, top: top, expected: map[string]bool{}}
	for _, a := range op.File.Actions {
		in := r.plan.Steps[out.step].Inputs
		if a.Copy == nil || a.SecondaryInput < 0 || a.SecondaryInput >= int64(len(in)) || in[a.SecondaryInput].Step != source {
			continue
		}
		if err := c.compare(tree, a.Copy); err != nil {
			return nil, unlessGone(ctx)
		}
	}
	c.addRemoved()
	c.addHiddenModes()
	r.markIgnored(r.plan.Steps[source].Op.Source, tree, c.changes)
	return c.changes, nil
}

// unlessGone returns the cause if a context has ended, else nil: what can't be read is not compared.
func unlessGone(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// comparison compares copies with what they made before.
type comparison struct {
	was, top *contenthash.Tree // all files of the old result, and those of its uppermost layer
	expected map[string]bool   // paths that files are copied to
	targets  []target
	changes  []FileChange
	hidden   []string // what was copied by actions that set modes themselves
}

// target is a directory that something is copied to, and where that comes from.
type target struct{ dest, source string }

func (c *comparison) compare(tree *contenthash.Tree, copied *llb.CopyAction) error {
	files, err := tree.Select(llb.Selection{
		Path: copied.Src, Wildcard: copied.AllowWildcard && llb.HasWildcard(copied.Src), FollowLinks: copied.FollowSymlink,
		Include: copied.IncludePatterns, Exclude: copied.ExcludePatterns,
	})
	if err != nil {
		return err
	}
	if copied.Mode != -1 || copied.ModeStr != "" {
		c.hidden = append(c.hidden, hiddenName(files, copied))
	}
	if len(files) == 0 {
		c.targets = append(c.targets, target{path.Join("/", copied.Dest), path.Dir(path.Join("/", copied.Src))})
	}
	for _, f := range files {
		if f.Rel == "" && f.Header().Type == contenthash.TypeDir && copied.DirCopyContents {
			c.targets = append(c.targets, target{path.Join("/", copied.Dest), f.Root})
			continue
		}
		if err := c.compareFile(f, copied); err != nil {
			return err
		}
	}
	return nil
}

// hiddenName names what is copied: the file, if there is only one.
func hiddenName(files []contenthash.File, copied *llb.CopyAction) string {
	if len(files) == 1 {
		return strings.TrimPrefix(path.Join(files[0].Root, files[0].Rel), "/")
	}
	return strings.TrimPrefix(path.Join("/", copied.Src), "/")
}

// addHiddenModes accounts for a step with no visible change: what is left are modes of files whose copies get other modes,
// because the source's modes still enter the key.
func (c *comparison) addHiddenModes() {
	if len(c.changes) > 0 {
		return
	}
	for _, name := range c.hidden {
		c.add(name, ChangeMode)
	}
}

func (c *comparison) compareFile(f contenthash.File, copied *llb.CopyAction) error {
	from := strings.TrimPrefix(path.Join(f.Root, f.Rel), "/")
	if copied.AttemptUnpackDockerCompatibility && f.Header().Type == contenthash.TypeFile {
		return c.compareArchive(f, from, copied)
	}
	dest := path.Join("/", copied.Dest, f.Rel)
	if f.Rel == "" {
		dest = c.destOf(f, copied)
	} else if isWild := llb.HasWildcard(copied.Src); !isWild {
		c.targets = append(c.targets, target{path.Join("/", copied.Dest), f.Root})
	}
	c.expected[dest] = true
	was, ok := c.was.Lookup(dest)
	if !ok {
		c.add(from, ChangeAdded)
		return nil
	}
	change, err := changeOf(f, was, copied)
	if change != "" {
		c.add(from, change)
	}
	return err
}

// destOf returns the destination of a file that the pattern itself matched.
func (c *comparison) destOf(f contenthash.File, copied *llb.CopyAction) string {
	dest := path.Join("/", copied.Dest)
	into, ok := c.was.Lookup(dest)
	if strings.HasSuffix(copied.Dest, "/") || ok && into.Header().Type == contenthash.TypeDir {
		c.targets = append(c.targets, target{dest, path.Dir(f.Root)})
		return path.Join(dest, path.Base(f.Root))
	}
	return dest
}

// compareArchive decides on a file that may have been unpacked. It does not look into the file.
func (c *comparison) compareArchive(f contenthash.File, from string, copied *llb.CopyAction) error {
	if was, ok := c.was.Lookup(c.destOf(f, copied)); ok && was.Header().Type == contenthash.TypeFile {
		same, err := f.SameBytes(was)
		if err != nil || same {
			return err
		}
	}
	c.targets = nil
	c.add(from, ChangeAny)
	return nil
}

// changeOf says what happened to a file, "" for nothing. Modes that the copy itself sets do not count.
func changeOf(now, was contenthash.File, copied *llb.CopyAction) (Change, error) {
	a, b := now.Header(), was.Header()
	switch {
	case a.Type != b.Type:
		return ChangeType, nil
	case a.Type == contenthash.TypeSymlink:
		if a.Linkname != b.Linkname {
			return ChangeTarget, nil
		}
		return "", nil
	case a.Type == contenthash.TypeFile:
		same, err := now.SameBytes(was)
		if err != nil && !errors.Is(err, contenthash.ErrBytes) {
			return "", err
		}
		if err == nil && !same {
			return ChangeContent, nil
		}
	}
	if copied.Mode == -1 && copied.ModeStr == "" && a.Mode != b.Mode {
		return ChangeMode, nil
	}
	return "", nil
}

// addRemoved adds what the uppermost layer has in the directories copied to, and the copies no longer make.
func (c *comparison) addRemoved() {
	seen := map[string]bool{}
	for _, t := range c.targets {
		if seen[t.dest] {
			continue
		}
		seen[t.dest] = true
		for _, f := range c.top.Below(t.dest) {
			at := path.Join(t.dest, f.Rel)
			if !c.expected[at] && !c.isAbove(at) {
				c.add(strings.TrimPrefix(path.Join(t.source, f.Rel), "/"), ChangeRemoved)
			}
		}
	}
	slices.SortStableFunc(c.changes, func(a, b FileChange) int { return strings.Compare(a.Path, b.Path) })
}

// isAbove reports whether a path is a directory that files are copied to, or one above it.
func (c *comparison) isAbove(p string) bool {
	for _, t := range c.targets {
		if t.dest == p || strings.HasPrefix(t.dest, p+"/") {
			return true
		}
	}
	return false
}

func (c *comparison) add(p string, change Change) {
	c.changes = append(c.changes, FileChange{Path: p, Change: change})
}
