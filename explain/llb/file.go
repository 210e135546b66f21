package llb

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// fileKey is the preimage of a file operation's cache key.
type fileKey struct {
	Type    string
	Actions [][]byte
	Indexes [][]int64 `json:"indexes,omitempty"`
}

func (f *FileOp) cacheMap(inputs int, form Form) (*CacheMap, error) {
	key := fileKey{Type: "buildkit.file.v0", Actions: make([][]byte, 0, len(f.Actions))}
	selected := map[int64][]Selection{} // by input
	written := map[int64]bool{}
	for _, a := range f.Actions {
		text, err := a.keyed(inputs, form)
		if err != nil {
			return nil, err
		}
		key.Actions = append(key.Actions, []byte(text))
		key.Indexes = append(key.Indexes, []int64{a.Input, a.SecondaryInput, a.Output})
		if err := a.addSelections(selected, int64(inputs)); err != nil {
			return nil, err
		}
		written[a.Input] = true
	}
	if isDefaultIndexes(key.Indexes) {
		key.Indexes = nil
	}
	preimage, err := marshal(key)
	if err != nil {
		return nil, err
	}
	m := &CacheMap{Key: NewKey(preimage), Deps: make([]Dep, inputs)}
	for i, selections := range selected {
		if i < 0 || i >= int64(inputs) {
			return nil, fmt.Errorf("file operation: input %d of %d: %w", i, inputs, ErrUnknown)
		}
		if !written[i] {
			m.Deps[i] = fileDep(selections)
		}
	}
	return m, nil
}

// keyed returns the JSON of an action as it enters the key.
func (a *FileAction) keyed(inputs int, form Form) (string, error) {
	switch {
	case a.Copy != nil:
		action := *a.Copy
		if a.readsInput(int64(inputs)) {
			action.Src = path.Base(action.Src)
		}
		return marshal(action.in(form))
	case a.Mkfile != nil:
		return marshal(a.Mkfile.in(form))
	case a.Mkdir != nil:
		return marshal(a.Mkdir.in(form))
	case a.Symlink != nil:
		return marshal(a.Symlink.in(form))
	case a.Rm != nil:
		return marshal(a.Rm)
	default:
		return "", fmt.Errorf("file operation: %w", ErrUnknown)
	}
}

// readsInput reports whether the action copies from an input of the operation rather than from an earlier action.
func (a *FileAction) readsInput(inputs int64) bool {
	return a.Copy != nil && a.SecondaryInput != NoInput && a.SecondaryInput < inputs
}

// owner returns the owner that the action gives to files, or nil.
func (a *FileAction) owner() *ChownOpt {
	switch {
	case a.Copy != nil:
		return a.Copy.Owner
	case a.Mkfile != nil:
		return a.Mkfile.Owner
	case a.Mkdir != nil:
		return a.Mkdir.Owner
	case a.Symlink != nil:
		return a.Symlink.Owner
	default:
		return nil
	}
}

// addSelections adds the files that an action reads, by input.
func (a *FileAction) addSelections(selected map[int64][]Selection, inputs int64) error {
	if owner := a.owner(); owner != nil {
		for _, of := range []struct {
			who  *UserOpt
			file string
		}{{owner.User, "/etc/passwd"}, {owner.Group, "/etc/group"}} {
			if of.who == nil || of.who.ByName == nil {
				continue
			}
			input := of.who.ByName.Input
			if input < 0 {
				return fmt.Errorf("file operation: names of input %d: %w", input, ErrUnknown)
			}
			selected[input] = append(selected[input], Selection{Path: of.file, FollowLinks: true})
		}
	}
	if c := a.Copy; a.readsInput(inputs) {
		selected[a.SecondaryInput] = append(selected[a.SecondaryInput], Selection{
			Path: c.Src, Wildcard: c.AllowWildcard && HasWildcard(c.Src), FollowLinks: c.FollowSymlink,
			Include: c.IncludePatterns, Exclude: c.ExcludePatterns, Required: c.RequiredPaths,
		})
	}
	return nil
}

// HasWildcard reports whether BuildKit treats a path as a pattern.
func HasWildcard(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}

func fileDep(selections []Selection) Dep {
	paths := make([]string, len(selections))
	for i, s := range selections {
		paths[i] = s.Path
	}
	slices.Sort(paths)
	slices.Reverse(paths)
	return Dep{
		Selector: digest.FromString(strings.Join(paths, "\x00")),
		Content:  true,
		Paths:    dedupeSelections(selections),
	}
}

// Filtered reports whether only a walk over the files can tell which of them are selected.
func (s Selection) Filtered() bool {
	return s.Wildcard || len(s.Include) > 0 || len(s.Exclude) > 0
}

func dedupeSelections(all []Selection) []Selection {
	var plain, follow []string
	var result, filtered []Selection
	for _, s := range all {
		switch {
		case s.Filtered():
			filtered = append(filtered, s)
		case s.FollowLinks:
			follow = append(follow, s.Path)
		default:
			plain = append(plain, s.Path)
		}
	}
	for _, p := range dedupePaths(plain) {
		result = append(result, Selection{Path: p})
	}
	for _, p := range dedupePaths(follow) {
		result = append(result, Selection{Path: p, FollowLinks: true})
	}
	result = append(result, filtered...)
	slices.SortStableFunc(result, func(a, b Selection) int { return cmp.Compare(a.Path, b.Path) })
	return result
}

// isDefaultIndexes reports whether indexes are left out of the key. Like BuildKit, it counts from the number of
// actions where the number of inputs is meant.
func isDefaultIndexes(all [][]int64) bool {
	last := len(all) - 1
	for i, indexes := range all {
		input, secondary, output := int64(0), indexes[1], int64(NoOutput)
		if i > 0 {
			input = int64(last + i)
		}
		if i == last {
			output = 0
		}
		if indexes[0] != input || secondary != NoInput && secondary != 1 || indexes[2] != output {
			return false
		}
	}
	return len(all) > 0
}
