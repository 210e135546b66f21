package layout_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// FuzzSalvageIndex tears index.json anywhere. What is saved are entries with digests, those of the whole file up to a point.
func FuzzSalvageIndex(f *testing.F) {
	for _, name := range []string{"multi-tag", "inline-image", "dangling-index"} {
		raw, err := os.ReadFile(filepath.Join(corpus, name, "index.json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, len(raw))
		f.Add(raw, len(raw)/2)
	}
	f.Add([]byte(`{"manifests":{"manifests":[{"digest":"x"}]}}`), 44)
	f.Fuzz(func(t *testing.T, raw []byte, at int) {
		whole, wholeErr := buildcache.ParseIndex(raw)
		torn := raw[:min(max(at, 0), len(raw))]
		salvaged, err := layout.Salvage(torn)
		if err != nil {
			return
		}
		saved := salvaged.Index
		for i, entry := range salvaged.Torn {
			if err := buildcache.CheckDigest(entry.Digest); err != nil {
				t.Errorf("torn entry %d: %v", i, err)
			}
		}
		all := saved.Clone()
		all.Entries = append(all.Entries, salvaged.Torn...)
		for _, index := range []*buildcache.Index{saved, all} {
			text, err := json.Marshal(index)
			if err == nil {
				_, err = buildcache.ParseIndex(text)
			}
			var size *buildcache.SizeError
			var values *buildcache.ValuesError
			if err != nil && !errors.As(err, &size) && !errors.As(err, &values) {
				t.Errorf("what is saved can't be read: %v", err)
			}
		}
		at = 0 // in the whole list: an entry whose digest is damaged is left out
		for i, entry := range saved.Entries {
			if err := buildcache.CheckDigest(entry.Digest); err != nil {
				t.Errorf("entry %d: %v", i, err)
			}
			if wholeErr != nil || whole.CheckList() != nil {
				continue
			}
			for at < len(whole.Entries) && whole.Entries[at].Digest != entry.Digest {
				at++
			}
			if at++; at > len(whole.Entries) {
				t.Errorf("entry %d is %s, and was none", i, entry.Digest)
			}
		}
	})
}

// TestSalvageTorn finds the digest and the tag of an entry that is torn, as long as both stand in what is left of it, and of those
// behind it.
func TestSalvageTorn(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(corpus, "multi-tag", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := buildcache.ParseIndex(raw)
	if err != nil || len(whole.Entries) != 2 {
		t.Fatal(err)
	}
	first, second := whole.Entries[0], whole.Entries[1]
	text := string(raw)
	cut := strings.Index(text, `[{`) + 2 // where the first entry begins
	for _, test := range []struct {
		name, text string
		whole      int
		torn       []string // digest and tag
	}{
		{"without its end", strings.TrimRight(text, "}]\n "), 1, []string{second.Digest.String() + " v2"}},
		{"without its last tag", text[:strings.LastIndex(text, `v2`)+1], 1, []string{second.Digest.String() + " "}},
		{"in its last digest", text[:strings.LastIndex(text, "sha256:")+40], 1, nil},
		{"in its first entry", text[:cut] + "\x00\x00\x00" + text[cut+3:], 0, []string{first.Digest.String() + " v1", second.Digest.String() + " v2"}},
		{"in its head", text[3:], 0, []string{first.Digest.String() + " v1", second.Digest.String() + " v2"}},
		{"with a tail of before", text + text[len(text)/2:], 2, nil},
		{"empty", "", 0, nil},
	} {
		got, err := layout.Salvage([]byte(test.text))
		if err != nil {
			t.Fatal(err)
		}
		var torn []string
		for _, entry := range got.Torn {
			torn = append(torn, entry.Digest.String()+" "+entry.Tag())
		}
		if len(got.Index.Entries) != test.whole || !slices.Equal(torn, test.torn) {
			t.Errorf("%s: %d entries are whole, torn %q, want %d, %q", test.name, len(got.Index.Entries), torn, test.whole, test.torn)
		}
	}
}
