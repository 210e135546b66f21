package buildcache_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

const (
	refName   = "org.opencontainers.image.ref.name"
	imageName = "io.containerd.image.name"
)

// TestIndexBytes holds what we write against what BuildKit wrote, old ones without a mediaType among it.
func TestIndexBytes(t *testing.T) {
	t.Parallel()
	for _, name := range corpusLayouts(t) {
		raw := readFile(t, filepath.Join(corpus, name, "index.json"))
		index, err := buildcache.ParseIndex(raw)
		if err != nil {
			t.Fatal(err)
		}
		if len(index.Entries) == 0 {
			t.Errorf("%s: no entries", name)
		}
		if got := marshal(t, index); got != string(raw) {
			t.Errorf("%s: written as\n%s\nBuildKit wrote\n%s", name, got, raw)
		}
	}
}

func parseIndex(t testing.TB, raw string) *buildcache.Index {
	t.Helper()
	index, err := buildcache.ParseIndex([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestIndexRewritten(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, raw, want string }{
		{"new", marshal(t, buildcache.NewIndex()), `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[]}`},
		{"unknown members", `{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"d","size":1,"x":{"y":[]}}],"annotations":{"k":"v"},"x":1}`, ""},
		{"no manifests", `{"schemaVersion":2}`, `{"schemaVersion":2,"manifests":[]}`},
		{"null manifests", `{"schemaVersion":2,"manifests":null}`, `{"schemaVersion":2,"manifests":[]}`},
		{"any case", `{"SchemaVersion":2,"MANIFESTS":[{"Digest":"d"}]}`, `{"schemaVersion":2,"manifests":[{"digest":"d","size":0}]}`},
		{"spaces", " {\"schemaVersion\" : 2, \"manifests\":[] }\n", `{"schemaVersion":2,"manifests":[]}`},
	}
	for _, tt := range tests {
		want := tt.want
		if want == "" {
			want = tt.raw
		}
		if got := marshal(t, parseIndex(t, tt.raw)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, want)
		}
	}
}

// TestParseIndexRefuses has what BuildKit can't read. The one with a tail is what lies there while BuildKit, which
// writes the file in place, has not yet cut it to its new length.
func TestParseIndexRefuses(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		``, `{`, `[]`, `{"manifests":{}}`, `{"manifests":[{"size":"1"}]}`, `{"schemaVersion":"2"}`,
		`{"manifests":[{"platform":"linux"}]}`, `{"manifests":[],"annotations":3}`,
		`{"schemaVersion":2,"manifests":[]}ref.name":"latest"}}]}`,
	} {
		if _, err := buildcache.ParseIndex([]byte(raw)); err == nil || !strings.Contains(err.Error(), "index.json") {
			t.Errorf("%s: got %v", raw, err)
		}
	}
	_, err := buildcache.ParseIndex([]byte(`{}` + strings.Repeat(" ", buildcache.MaxIndex-1)))
	var size *buildcache.SizeError
	if !errors.As(err, &size) || size.Limit != buildcache.MaxIndex {
		t.Errorf("above the limit: %v", err)
	}
}

// entry returns an entry of index.json with the digest of name, and annotations given as pairs.
func entry(name string, annotations ...string) buildcache.Descriptor {
	d := buildcache.Descriptor{MediaType: ociManifest, Digest: sum(name), Size: 1}
	for i := 0; i < len(annotations); i += 2 {
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations[annotations[i]] = annotations[i+1]
	}
	return d
}

func indexOf(entries ...buildcache.Descriptor) *buildcache.Index {
	index := buildcache.NewIndex()
	index.Entries = entries
	return index
}

func TestIndexFind(t *testing.T) {
	t.Parallel()
	index := indexOf(
		entry("a", refName, "latest"),
		entry("b"),
		entry("c", refName, "v1"),
		entry("d", refName, "v1"),
		entry("e", refName, "1", imageName, "example.com/app:1"),
		entry("f", refName, "2", imageName, "latest"),
		entry("g", refName, ""),
	)
	for tag, want := range map[string]int{
		"latest":            5, // containerd's name comes first, wherever it stands
		"v1":                2,
		"1":                 4,
		"example.com/app:1": 4,
		"2":                 5,
		"Latest":            -1,
		"missing":           -1,
		"":                  6, // only where it is written down
	} {
		if got := index.Find(tag); got != want {
			t.Errorf("Find(%q) = %d, want %d", tag, got, want)
		}
	}
	if got := indexOf(entry("b")).Find(""); got != -1 {
		t.Errorf("an entry without a name was found as %d", got)
	}
}

// TestIndexNamed lists what Find finds, and what it does not find behind that.
func TestIndexNamed(t *testing.T) {
	t.Parallel()
	type named = buildcache.Named
	for _, test := range []struct {
		name    string
		entries []buildcache.Descriptor
		want    []named
	}{
		{"nothing", nil, nil},
		{"in order", []buildcache.Descriptor{entry("a", refName, "v2"), entry("b"), entry("c", refName, "v1")}, []named{{"v2", 0}, {"", 1}, {"v1", 2}}},
		{"one tag twice", []buildcache.Descriptor{entry("a", refName, "v1"), entry("b", refName, "v1")}, []named{{"v1", 0}, {"v1", 1}}},
		{
			"containerd's name comes first, wherever it stands",
			[]buildcache.Descriptor{entry("a", refName, "latest"), entry("b", refName, "v2", imageName, "latest")},
			[]named{{"latest", 1}, {"latest", 0}, {"v2", 1}},
		},
		{"containerd's name alone", []buildcache.Descriptor{entry("a", imageName, "v1")}, []named{{"v1", 0}}},
		{
			"the full name of an image is no other tag",
			[]buildcache.Descriptor{entry("a", refName, "1", imageName, "example.com/app:1"), entry("b", imageName, "example.com/other:1")},
			[]named{{"1", 0}, {"", 1}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			index := indexOf(test.entries...)
			got := index.Named()
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			seen := map[string]bool{"": true}
			for _, n := range got {
				if !seen[n.Tag] && index.Find(n.Tag) != n.At {
					t.Errorf("the first with %q is %d, and Find returns %d", n.Tag, n.At, index.Find(n.Tag))
				}
				seen[n.Tag] = true
			}
		})
	}
}

func TestIndexFindUntagged(t *testing.T) {
	t.Parallel()
	index := indexOf(entry("a", refName, "v1"), entry("a", imageName, "v2"), entry("b"), entry("a"))
	for name, want := range map[string]int{"a": 3, "b": 2, "c": -1} {
		if got := index.FindUntagged(sum(name)); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestIndexPut(t *testing.T) {
	t.Parallel()
	root := buildcache.Descriptor{
		MediaType: ociIndex, Digest: sum("new"), Size: 9, Annotations: map[string]string{"of": "the root"},
		Extra: buildcache.Extra{{Name: "x", Value: []byte("1")}},
	}
	put := func(annotations ...string) buildcache.Descriptor {
		d := entry("new", annotations...)
		d.MediaType, d.Size = ociIndex, 9
		return d
	}
	tests := []struct {
		name         string
		before, want []buildcache.Descriptor
	}{
		{"into nothing", nil, []buildcache.Descriptor{put(refName, "v1")}},
		{"at the end", []buildcache.Descriptor{entry("a", refName, "v2"), entry("b")}, []buildcache.Descriptor{entry("a", refName, "v2"), entry("b"), put(refName, "v1")}},
		{
			"in its place",
			[]buildcache.Descriptor{entry("a"), entry("b", refName, "v1"), entry("c", refName, "v2")},
			[]buildcache.Descriptor{entry("a"), put(refName, "v1"), entry("c", refName, "v2")},
		},
		{
			"annotations stay",
			[]buildcache.Descriptor{entry("a", refName, "v1", "k", "v")},
			[]buildcache.Descriptor{put(refName, "v1", "k", "v")},
		},
		{
			"what has the tag too and is not found stays",
			[]buildcache.Descriptor{entry("a", refName, "v1"), entry("b", refName, "v2"), entry("c", refName, "v1"), entry("d", refName, "v1", imageName, "n")},
			[]buildcache.Descriptor{put(refName, "v1"), entry("b", refName, "v2"), entry("c", refName, "v1"), entry("d", refName, "v1", imageName, "n")},
		},
		{
			"found by containerd's name",
			[]buildcache.Descriptor{entry("a", refName, "v1"), entry("b", refName, "x", imageName, "v1")},
			[]buildcache.Descriptor{entry("a", refName, "v1"), put(imageName, "v1"), entry("b", refName, "x")},
		},
		{
			"by containerd's full name as well",
			[]buildcache.Descriptor{entry("a", refName, "v1", imageName, "example.com/app:v1")},
			[]buildcache.Descriptor{put(refName, "v1", imageName, "example.com/app:v1")},
		},
		{
			"the other tag of an entry stays",
			[]buildcache.Descriptor{entry("a", refName, "v1", imageName, "latest", "k", "v")},
			[]buildcache.Descriptor{put(refName, "v1", "k", "v"), entry("a", imageName, "latest", "k", "v")},
		},
		{
			"another tag that finds something else goes along",
			[]buildcache.Descriptor{entry("a", imageName, "v2"), entry("b", refName, "v2", imageName, "v1")},
			[]buildcache.Descriptor{entry("a", imageName, "v2"), put(refName, "v2", imageName, "v1")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			index := indexOf(tt.before...)
			before := marshal(t, index)
			changed := index.Clone()
			changed.Put("v1", root)
			if !reflect.DeepEqual(changed.Entries, tt.want) {
				t.Errorf("got  %s\nwant %s", marshal(t, changed.Entries), marshal(t, tt.want))
			}
			if at := changed.Find("v1"); at < 0 || changed.Entries[at].Digest != root.Digest {
				t.Errorf("the tag leads to manifests[%d]", at)
			}
			if got := marshal(t, index); got != before {
				t.Errorf("the index it was cloned from changed to %s", got)
			}
		})
	}
}

// TestIndexPutAll does as often as Put would.
func TestIndexPutAll(t *testing.T) {
	t.Parallel()
	before := indexOf(
		entry("a", refName, "v1"), entry("b"), entry("c", refName, "v2", imageName, "v3"), entry("d", refName, "v1"),
		entry("e", refName, "v3"), entry("f", refName, "v2", imageName, "v3"), entry("g", refName, "v4"), entry("h", refName, ""),
	)
	var all []buildcache.Tagged
	one := before.Clone()
	for i, tag := range []string{"v1", "v3", "new", "v2", "new", "v1", "newer", ""} {
		root := buildcache.Descriptor{MediaType: ociIndex, Digest: sum(strconv.Itoa(i)), Size: int64(i)}
		all = append(all, buildcache.Tagged{Tag: tag, Root: root})
		one.Put(tag, root)
	}
	together := before.Clone()
	together.PutAll(all)
	if got, want := marshal(t, together), marshal(t, one); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for tag, at := range together.ByTag() {
		if want := together.Find(tag); at != want {
			t.Errorf("%q: %d by ByTag, %d by Find", tag, at, want)
		}
	}
}

func TestIndexReplace(t *testing.T) {
	t.Parallel()
	const raw = `{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:1","size":1},` +
		`{"mediaType":"m","digest":"sha256:2","size":2,"annotations":{"k":"v"},"x":1,"Data":"b2xk"}]}`
	index := parseIndex(t, raw)
	changed := index.Clone()
	changed.Replace(1, buildcache.Descriptor{MediaType: "n", Digest: "sha256:3", Size: 3})
	want := strings.Replace(raw, `"mediaType":"m","digest":"sha256:2","size":2`, `"mediaType":"n","digest":"sha256:3","size":3`, 1)
	want = strings.Replace(want, `,"Data":"b2xk"`, "", 1) // these were the old root's bytes
	if got := marshal(t, changed); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := marshal(t, index); got != raw {
		t.Errorf("the index it was cloned from changed to %s", got)
	}
}

func TestIndexCheck(t *testing.T) {
	t.Parallel()
	type finding struct {
		kind  buildcache.Kind
		where int
	}
	tests := []struct {
		name    string
		entries []buildcache.Descriptor
		want    []finding
	}{
		{"in order", []buildcache.Descriptor{entry("a", refName, "v1"), entry("b", refName, "v2")}, nil},
		{"untagged", []buildcache.Descriptor{entry("a", refName, "v1"), entry("b")}, []finding{{buildcache.Untagged, 1}}},
		{"empty tag", []buildcache.Descriptor{entry("a", refName, "")}, []finding{{buildcache.Untagged, 0}}},
		{"untagged here, tagged there", []buildcache.Descriptor{entry("a"), entry("a", refName, "v1")}, nil},
		{"same tag", []buildcache.Descriptor{entry("a", refName, "v1"), entry("b", refName, "v1")}, []finding{{buildcache.TagShadowed, 1}}},
		{"same tag, same root", []buildcache.Descriptor{entry("a", refName, "v1"), entry("a", refName, "v1")}, []finding{{buildcache.TagShadowed, 1}}},
		{"same root under containerd's name", []buildcache.Descriptor{entry("a", refName, "v1"), entry("a", imageName, "v1")}, []finding{{buildcache.TagShadowed, 0}}},
		{"containerd's name takes the tag", []buildcache.Descriptor{entry("a", refName, "v1"), entry("b", imageName, "v1")}, []finding{{buildcache.TagShadowed, 0}}},
		{"found by its other name", []buildcache.Descriptor{entry("a", refName, "v1"), entry("b", refName, "v1", imageName, "n")}, nil},
		{"only containerd's name", []buildcache.Descriptor{entry("a", imageName, "n")}, nil},
		{"same containerd's name", []buildcache.Descriptor{entry("a", imageName, "n"), entry("b", imageName, "n")}, []finding{{buildcache.TagShadowed, 1}}},
		{"not a cache", []buildcache.Descriptor{entry("image"), entry("image", refName, "v1"), entry("a", refName, "v2")}, nil},
		{"shadowed by what is no cache", []buildcache.Descriptor{entry("image", refName, "v1"), entry("a", refName, "v1")}, []finding{{buildcache.TagShadowed, 1}}},
		{"shadowed, and tagged elsewhere", []buildcache.Descriptor{entry("a", refName, "v1"), entry("b", refName, "v1"), entry("b", refName, "v2")}, []finding{{buildcache.TagShadowed, 1}}},
	}
	caches := map[digest.Digest]bool{sum("a"): true, sum("b"): true}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			problems := indexOf(tt.entries...).Check(caches)
			var got []finding
			for _, p := range problems {
				var at int
				if _, err := fmt.Sscanf(p.Where, "index.json manifests[%d]", &at); err != nil {
					t.Fatalf("%q: %v", p.Where, err)
				}
				effect := buildcache.HitsLost
				if strings.HasPrefix(tt.name, "same") && strings.Contains(tt.name, "same root") {
					effect = buildcache.Waste
				}
				if p.Digest != tt.entries[at].Digest || p.Effect != effect {
					t.Errorf("%+v", p)
				}
				if p.Kind == buildcache.TagShadowed && (strings.Contains(p.Detail, "-1") || strings.Contains(p.Detail, `""`)) {
					t.Errorf("detail %q", p.Detail)
				}
				got = append(got, finding{p.Kind, at})
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
