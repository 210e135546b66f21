package buildcache_test

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
)

const (
	maxSeed  = 16 << 10 // larger seeds make fuzzing slow and teach it nothing new
	maxInput = 1 << 18  // escapes make JSON up to six times as long, which must not reach the limits
)

// maxProblems is what a report may have: 100 of each kind, and for each a line that there are more.
func maxProblems() int { return 101 * len(buildcache.Kinds()) }

// importerConfig is what BuildKit's importer reads a cache config into (cache/remotecache/v1/types/spec.go).
type importerConfig struct {
	Layers []struct {
		Blob        digest.Digest `json:"blob,omitempty"`
		ParentIndex int           `json:"parent,omitempty"`
		Annotations *struct {
			MediaType string        `json:"mediaType,omitempty"`
			DiffID    digest.Digest `json:"diffID,omitempty"`
			Size      int64         `json:"size,omitempty"`
			CreatedAt time.Time     `json:"createdAt"`
		} `json:"annotations,omitempty"`
	} `json:"layers,omitempty"`
	Records []struct {
		Results []struct {
			LayerIndex int       `json:"layer"`
			CreatedAt  time.Time `json:"createdAt"`
		} `json:"layers,omitempty"`
		ChainedResults []struct {
			LayerIndexes []int     `json:"layers"`
			CreatedAt    time.Time `json:"createdAt"`
		} `json:"chains,omitempty"`
		Digest digest.Digest `json:"digest,omitempty"`
		Inputs [][]struct {
			Selector  string `json:"selector,omitempty"`
			LinkIndex int    `json:"link"`
		} `json:"inputs,omitempty"`
	} `json:"records,omitempty"`
}

// importerRoot is what BuildKit's importer takes from a root (cache/remotecache/import.go).
type importerRoot struct {
	MediaType string
	Config    ocispec.Descriptor
	Layers    []ocispec.Descriptor
}

func readAsImporter(t *testing.T, raw []byte) importerRoot {
	t.Helper()
	mediaType, err := buildcache.DetectMediaType(raw)
	if err != nil {
		t.Fatal(err)
	}
	read := importerRoot{MediaType: mediaType}
	read.Layers = []ocispec.Descriptor{}
	if mediaType == ociManifest || mediaType == dockerManifest {
		var manifest ocispec.Manifest
		decode(t, raw, &manifest)
		read.Config, read.Layers = manifest.Config, append(read.Layers, manifest.Layers...)
		return read
	}
	var list ocispec.Index
	decode(t, raw, &list)
	for _, d := range list.Manifests {
		if d.MediaType == buildcache.MediaTypeConfig {
			read.Config = d
		} else {
			read.Layers = append(read.Layers, d)
		}
	}
	return read
}

func decode(t *testing.T, raw []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
}

// sameRead fails if two values that were read by encoding/json differ in more than nil against empty.
func sameRead(t *testing.T, before, after any, written string) {
	t.Helper()
	if b, a := marshal(t, before), marshal(t, after); b != a {
		t.Errorf("BuildKit reads %s\nand after writing %s\nwritten was %s", b, a, written)
	}
}

func kindsOf(problems []buildcache.Problem) map[buildcache.Kind]int {
	kinds := map[buildcache.Kind]int{}
	for _, p := range problems {
		kinds[p.Kind]++
	}
	return kinds
}

func isConfig(d buildcache.Descriptor) bool { return d.MediaType == buildcache.MediaTypeConfig }

func FuzzParseRoot(f *testing.F) {
	for _, export := range corpusExports(f) {
		if len(export.Root) <= maxSeed {
			f.Add(export.Root)
		}
	}
	for _, d := range readDamaged(f) {
		f.Add([]byte(d.RootText))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > maxInput {
			return
		}
		buildcache.Successors(raw)
		for _, d := range buildcache.Mentions(raw) {
			if err := buildcache.CheckDigest(d); err != nil {
				t.Error(err)
			}
		}
		samePlain(t, raw)
		root, err := buildcache.ParseRoot(raw)
		if err != nil {
			return
		}
		written := marshal(t, root)
		again := parseRoot(t, []byte(written))
		if got := marshal(t, again); got != written {
			t.Errorf("written as %s\nand then as %s", written, got)
		}
		before, after := readAsImporter(t, raw), readAsImporter(t, []byte(written))
		before.MediaType = root.Form.MediaType() // the only thing that writing mends
		sameRead(t, before, after, written)
		for _, form := range everyForm() {
			there := parseRoot(t, []byte(marshal(t, root.WithForm(form))))
			layers := slices.DeleteFunc(slices.Clone(root.Layers), isConfig)
			if !there.IsCanonical() || there.Form != form || len(there.Layers) != len(layers) || there.Config.Digest != root.Config.Digest {
				t.Errorf("as a %s it is %+v", form, there)
			}
		}
		if problems := buildcache.Validate(root, int64(len(raw)), &buildcache.Config{}); len(problems) > maxProblems() {
			t.Errorf("%d problems", len(problems))
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	for _, export := range corpusExports(f) {
		if len(export.Config) <= maxSeed {
			f.Add(export.Config)
		}
	}
	for _, d := range readDamaged(f) {
		f.Add([]byte(d.ConfigText))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > maxInput {
			return
		}
		config, err := buildcache.ParseConfig(raw)
		var before, after importerConfig
		if readable := json.Unmarshal(raw, &before); (readable == nil) != (err == nil) {
			t.Fatalf("BuildKit: %v\nParseConfig: %v", readable, err)
		}
		if err != nil {
			return
		}
		written := marshal(t, config)
		again := parseConfig(t, []byte(written))
		if got := marshal(t, again); got != written {
			t.Errorf("written as %s\nand then as %s", written, got)
		}
		decode(t, []byte(written), &after)
		sameRead(t, before, after, written)

		root := &buildcache.Root{Form: buildcache.Artifact}
		for i, layer := range config.Layers {
			if i%4 != 3 { // some stay unlisted
				root.Layers = append(root.Layers, buildcache.Descriptor{Digest: layer.Blob})
			}
		}
		problems := buildcache.Validate(root, 1, config)
		if len(problems) > maxProblems() {
			t.Errorf("%d problems", len(problems))
		}
		if got := buildcache.Validate(root, 1, again); !reflect.DeepEqual(got, problems) {
			t.Errorf("problems before: %+v\nafter: %+v", problems, got)
		}
		listed := root.LayersByDigest()
		for blob := range buildcache.UsedBlobs(root, config) {
			if _, ok := listed[blob]; !ok {
				t.Errorf("%s is used and not listed", blob)
			}
		}
	})
}

func FuzzParseIndex(f *testing.F) {
	for _, name := range corpusLayouts(f) {
		f.Add(readFile(f, filepath.Join(corpus, name, "index.json")), "latest")
	}
	f.Add([]byte(`{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"v1"}},{"annotations":{"io.containerd.image.name":"v1"}}]}`), "v1")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}]}`), "")
	f.Fuzz(func(t *testing.T, raw []byte, tag string) {
		if len(raw) > maxInput {
			return
		}
		index, err := buildcache.ParseIndex(raw)
		var before, after ocispec.Index
		several := err != nil && strings.Contains(err.Error(), "several lists")
		if readable := json.Unmarshal(raw, &before); (readable == nil) != (err == nil || several) {
			t.Fatalf("BuildKit: %v\nParseIndex: %v", readable, err)
		}
		if err != nil {
			return
		}
		written := marshal(t, index)
		if again := marshal(t, parseIndex(t, written)); again != written {
			t.Errorf("written as %s\nand then as %s", written, again)
		}
		decode(t, []byte(written), &after)
		if before.Manifests == nil {
			before.Manifests = []ocispec.Descriptor{}
		}
		sameRead(t, before, after, written)

		caches := map[digest.Digest]bool{}
		for _, d := range index.Entries {
			caches[d.Digest] = true
		}
		for _, p := range index.Check(caches) {
			if tag := p.Cache; tag != "" && (index.Entries[index.Find(tag)].Digest == p.Digest) != (p.Severity == buildcache.SeverityWarning) {
				t.Errorf("found, but reported, or found and a waste: %+v", p)
			}
		}
		root := buildcache.Descriptor{MediaType: ociManifest, Digest: sum("root"), Size: 1}
		index.Put(tag, root)
		if at := index.Find(tag); at < 0 || index.Entries[at].Digest != root.Digest {
			t.Errorf("after Put the tag %q leads to %d", tag, at)
		}
	})
}

func FuzzReplaceLayers(f *testing.F) {
	for _, export := range corpusExports(f) {
		if len(export.Config) <= maxSeed {
			f.Add(export.Root, export.Config, uint8(1))
		}
	}
	for _, d := range readDamaged(f) {
		f.Add([]byte(d.RootText), []byte(d.ConfigText), uint8(255))
	}
	f.Fuzz(func(t *testing.T, rawRoot, rawConfig []byte, mask uint8) {
		if len(rawRoot) > maxInput || len(rawConfig) > maxInput {
			return
		}
		root, err := buildcache.ParseRoot(rawRoot)
		if err != nil {
			return
		}
		config, err := buildcache.ParseConfig(rawConfig)
		if err != nil {
			return
		}
		before := marshal(t, root) + marshal(t, config)
		blobs := map[digest.Digest]buildcache.Blob{}
		for i, layer := range root.Layers {
			if mask>>(i%8)&1 == 1 && !isConfig(layer) {
				blobs[layer.Digest] = buildcache.Blob{Digest: sum("new " + layer.Digest.String()), Size: 1, Compression: buildcache.Zstd, DiffID: sum("diff")}
			}
		}
		newRoot, newConfig := buildcache.ReplaceLayers(root, config, blobs)
		if after := marshal(t, root) + marshal(t, config); after != before {
			t.Errorf("what it came from changed from %s\nto %s", before, after)
		}
		for i, layer := range root.Layers {
			want := layer.Digest
			if blob, ok := blobs[want]; ok {
				want = blob.Digest
			}
			if newRoot.Layers[i].Digest != want {
				t.Errorf("root.layers[%d] became %s", i, newRoot.Layers[i].Digest)
			}
		}
		// Whatever BuildKit makes of records, results and parents, it makes of them afterwards as well.
		was, is := kindsOf(buildcache.Validate(root, 1, config)), kindsOf(buildcache.Validate(newRoot, 1, newConfig))
		for _, kind := range []buildcache.Kind{
			buildcache.RecordLinkRange, buildcache.RecordLoop, buildcache.RecordEmptyInput, buildcache.RecordRandomLink, buildcache.RecordDigest,
			buildcache.LayerIndexRange, buildcache.LayerLoop, buildcache.LayerUnlisted, buildcache.NoResults,
		} {
			if was[kind] != is[kind] {
				t.Errorf("%s: %d times before, %d times after", kind, was[kind], is[kind])
			}
		}
	})
}
