package llb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// ErrUnknown marks an operation whose key can't be known from its definition.
var ErrUnknown = errors.New("unknown operation")

// Form is the way in which some versions of BuildKit make keys: those from the
// version in its name up to the next form's.
type Form int

// The forms, newest first. FormV17 still holds for v0.34.
const (
	FormV17 Form = iota
	FormV13      // indexes of inputs and outputs are always written
	FormV11      // and the root of a command has no selector, merges are not hashed, names of cache mounts count
	FormV8       // and commands do not say how stubs of mounts are removed
)

// Forms returns every form, newest first.
func Forms() []Form { return []Form{FormV17, FormV13, FormV11, FormV8} }

// Before returns the first version that no longer uses the form, such as v0.13,
// or "" for the current form.
func (f Form) Before() string {
	switch f {
	case FormV13:
		return "v0.17"
	case FormV11:
		return "v0.13"
	case FormV8:
		return "v0.11"
	default:
		return ""
	}
}

// Key is a cache key before the index of the output enters it.
type Key struct {
	// Text is the key itself: a digest, or for merges and diffs in old versions the preimage.
	Text string
	// Preimage is what the key is a hash of.
	Preimage string
}

// NewKey returns the key of a preimage.
func NewKey(preimage string) Key {
	return Key{Text: digest.FromString(preimage).String(), Preimage: preimage}
}

// Record returns the digest of the cache's record for an output of the
// operation.
func (k Key) Record(output int) digest.Digest {
	return digest.FromString(k.Text + "@" + strconv.Itoa(output))
}

// ContentRecord returns the digest of the record that stands for contents, given
// the digests of the selected files and directories in their order.
func ContentRecord(contents []digest.Digest) digest.Digest {
	return NewKey(joined(contents)).Record(-1)
}

// CacheMap is what BuildKit looks up an operation by.
type CacheMap struct {
	Key  Key
	Deps []Dep // one for each input
}

// Dep is how an input enters a key.
type Dep struct {
	// Selector is the one in the link to the input's own record, "" for none.
	Selector digest.Digest
	// Content says that the input may also be found by its files. Paths are the files that count, in order; none means
	// the whole tree.
	Content bool
	Paths   []Selection
}

// Selection selects files of an input, by the rules of package contenthash.
type Selection struct {
	Path        string
	Wildcard    bool
	FollowLinks bool
	Include     []string
	Exclude     []string
	Required    []string
}

// CacheMap returns what BuildKit looks up the operation by. builder is the
// platform of operations that name none. Sources have Keys instead of a
// CacheMap: they fail with ErrUnknown, as do unknown operations.
func (o *Op) CacheMap(inputs int, builder Platform, form Form) (*CacheMap, error) {
	switch {
	case inputs < 0 || inputs > MaxInputs:
		return nil, fmt.Errorf("%d inputs: %w", inputs, ErrUnknown)
	case o.Exec != nil:
		return o.Exec.cacheMap(inputs, o.platform(builder), form)
	case o.File != nil:
		return o.File.cacheMap(inputs, form)
	case o.Merge != nil:
		return plain(inputs, form, "buildkit.merge.v0", "Merge", o.Merge.in(form))
	case o.Diff != nil:
		return plain(o.Diff.inputs(), form, "buildkit.diff.v0", "Diff", o.Diff.in(form))
	case o.Build != nil && o.Build.Def == nil:
		return plain(inputs, FormV17, "buildkit.build.v0", "Exec", o.Build.in(form))
	case o.Passthrough != nil:
		return plain(inputs, FormV17, "buildkit.passthrough.v0", "Passthrough", o.Passthrough)
	default:
		return nil, fmt.Errorf("%s: %w", o.Kind(), ErrUnknown)
	}
}

// MaxInputs is the most inputs that an operation may have.
const MaxInputs = 1 << 16

// platform returns the platform that the operation runs on, spelled as in keys.
func (o *Op) platform(builder Platform) Platform {
	if o.Platform == nil {
		return builder.Normalize()
	}
	return o.Platform.Normalize()
}

// plain returns the CacheMap of an operation whose inputs have neither selectors nor contents.
func plain(inputs int, form Form, kind, member string, op any) (*CacheMap, error) {
	text, err := marshal(op)
	if err != nil {
		return nil, err
	}
	key := NewKey(`{"Type":"` + kind + `","` + member + `":` + text + `}`)
	if form >= FormV11 {
		key.Text = key.Preimage
	}
	return &CacheMap{Key: key, Deps: make([]Dep, inputs)}, nil
}

func marshal(v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("write preimage: %w", err)
	}
	return string(text), nil
}

// joined returns digests as BuildKit joins them.
func joined(all []digest.Digest) string {
	parts := make([][]byte, len(all))
	for i, d := range all {
		parts[i] = []byte(d)
	}
	return string(bytes.Join(parts, []byte{0}))
}

// inputs returns how many inputs a diff has: an empty side does not count.
func (d *DiffOp) inputs() int {
	count := 0
	for _, side := range []*InputRef{d.Lower, d.Upper} {
		if side.Input != NoInput {
			count++
		}
	}
	return count
}

// dedupePaths returns paths in order, without those below another one.
func dedupePaths(paths []string) []string {
	if len(paths) <= 1 {
		return paths
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(paths)))
	set := make(map[string]bool, len(sorted))
	for _, p := range sorted {
		set[p] = true
	}
	return slices.DeleteFunc(sorted, func(p string) bool { return hasParentIn(set, p) })
}

// hasParentIn reports whether one of the paths, ended by a slash, is a proper prefix of p.
func hasParentIn(set map[string]bool, p string) bool {
	for i := range p {
		if p[i] != '/' {
			continue
		}
		if short := p[:i]; i > 0 && set[short] && short != p {
			return true
		}
		if long := p[:i+1]; set[long] && long != p {
			return true
		}
	}
	return set[""] && p != "" && p[0] == '/'
}
