//go:build e2e

package e2e

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// effect is what a cache does to the build that imports it.
type effect string

const (
	whole      effect = "whole" // every step cached, every layer right
	hitsLost   effect = "hits-lost"
	buildFails effect = "build-fails"
)

// variation is a cache with something odd in it.
type variation struct {
	name   string
	cache  string // the fixture that it is made of; artifact-gzip if empty
	effect effect // what BuildKit makes of it
	edit   edit
	// damaged says that bytes differ from their digest. Verify calls that an
	// error even where BuildKit does not look.
	damaged bool
	slow    bool // BuildKit tries for half a minute before it gives up
}

// TestVerdicts holds what verify says of odd caches against what BuildKit makes
// of them. Where a hit is lost or the build fails it has to find an error, and
// none where the cache works, however odd it looks.
//
// Some oddities are not here. Verify calls these an error though BuildKit does
// without: a second entry of a tag that is dangling, a config that is there
// only as the data of its descriptor, a broken layer that only the older of two
// results needs, an OCI layer type with an unknown suffix, a record more that
// has no key. These it does not, though hits may be lost: a root whose config
// has another media type, which is no cache then, an index.json without
// entries, a config without records, and keys that are other builds'.
func TestVerdicts(t *testing.T) {
	needOcicache(t)
	for _, v := range slices.Concat(layerVariations, blobVariations, rootVariations, listVariations,
		placeVariations, recordVariations, indexVariations) {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			if v.slow && !full() {
				t.Skip("slow: runs with E2E_FULL=1")
			}
			v.judge(t)
		})
	}
}

func (v variation) judge(t *testing.T) {
	f := findFixture(t, cmp.Or(v.cache, "artifact-gzip"))
	untouched := f.untouched(t)
	requireAllCached(t, untouched)
	d := f.draft(t)
	v.edit(t, d)
	d.seal(t)

	found := verify(t, d.dir)
	got := f.importFrom(t, d.dir)
	is := effectOf(got, untouched)
	t.Logf("BuildKit: %s; ocicache verify: errors %q, warnings %q", is, found.kinds("error"), found.kinds("warning"))
	if is != v.effect {
		t.Errorf("BuildKit: %s, want %s: %d of %d steps cached\n%v\n%s", is, v.effect,
			countCached(got.Steps), len(got.Steps), got.Err, strings.Join(got.Warnings, "\n"))
	}
	if is == whole {
		requireImages(t, got.Images, untouched.Images)
	}
	if broken := is != whole || v.damaged; broken != (len(found.kinds("error")) > 0) {
		t.Error("ocicache verify has another opinion than BuildKit")
	}
}

func effectOf(got, untouched result) effect {
	switch {
	case got.Err != nil:
		return buildFails
	case slices.Equal(got.Steps, untouched.Steps):
		return whole
	default:
		return hitsLost
	}
}

// findings are what verify found.
type findings struct {
	Problems []struct{ Kind, Severity string }
}

// verify calls ocicache verify, which has to come to a verdict.
func verify(t *testing.T, dir string) findings {
	t.Helper()
	c := runOcicache(t, "verify", dir, "--deep", "--json")
	var found findings
	if err := json.Unmarshal([]byte(c.Stdout), &found); err != nil {
		t.Errorf("ocicache verify: exit status %d: %v\n%s%s", c.Status, err, c.Stdout, c.Stderr)
		return found
	}
	want := 0
	if len(found.kinds("error")) > 0 {
		want = 3
	}
	if c.Status != want {
		t.Errorf("ocicache verify: exit status %d, want %d\n%s%s", c.Status, want, c.Stdout, c.Stderr)
	}
	return found
}

// kinds lists the kinds of problems of a severity, each once.
func (f findings) kinds(severity string) []string {
	var kinds []string
	for _, p := range f.Problems {
		if p.Severity == severity {
			kinds = append(kinds, p.Kind)
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}
