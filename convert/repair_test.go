package convert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// repairAll does what the command does with a directory.
func repairAll(t *testing.T, dir layout.Place, o convert.RepairOptions) (kinds []string, left int, results []*convert.RepairResult) {
	t.Helper()
	dir, repairs, err := convert.RepairIndex(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	tags, entries, err := convert.RepairTags(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	repairs = append(repairs, tags...)
	for _, entry := range entries {
		done, err := convert.RepairCache(t.Context(), dir, entry, o)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, done)
		repairs = append(repairs, done.Repairs...)
		left += len(done.Left)
	}
	for _, done := range repairs {
		if kind := string(done.Kind); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds, left, results
}

// lowest returns a layer of a cache that has no parent.
func lowest(t *testing.T, path string) buildcache.Descriptor {
	t.Helper()
	cache := load(t, open(t, path), "latest")
	for _, layer := range cache.Config.Layers {
		if layer.Parent == buildcache.NoParent {
			return cache.Root.LayersByDigest()[layer.Blob]
		}
	}
	t.Fatal("there is no lowest layer")
	return buildcache.Descriptor{}
}

// topmost returns a layer that no other one lies on.
func topmost(t *testing.T, path string) buildcache.Descriptor {
	t.Helper()
	cache := load(t, open(t, path), "latest")
	below := map[digest.Digest]bool{}
	for _, layer := range cache.Config.Layers {
		if layer.Parent >= 0 {
			below[cache.Config.Layers[layer.Parent].Blob] = true
		}
	}
	for _, layer := range cache.Config.Layers {
		if !below[layer.Blob] {
			return cache.Root.LayersByDigest()[layer.Blob]
		}
	}
	t.Fatal("there is no topmost layer")
	return buildcache.Descriptor{}
}

// retag gives latest a root with what change makes of the old one.
func retag(t *testing.T, path string, change func(root *buildcache.Root, config *buildcache.Config)) {
	t.Helper()
	place := open(t, path)
	cache := load(t, place, "latest")
	change(cache.Root, cache.Config)
	raw := marshal(t, cache.Config)
	if digest.FromBytes(raw) != digest.FromBytes(cache.RawConfig) {
		putBlob(t, place, raw)
		cache.Root.SetConfig(raw)
	}
	root := putBlob(t, place, marshal(t, cache.Root))
	root.MediaType = cache.Root.Form.MediaType()
	if err := place.Tag(t.Context(), "latest", root, cache.Descriptor.Digest); err != nil {
		t.Fatal(err)
	}
}

// notRewritten recompresses a cache as a tool does that knows nothing of the config.
func notRewritten(t *testing.T, path string) (oldRoot digest.Digest, old []buildcache.Descriptor) {
	t.Helper()
	place := open(t, path)
	before := load(t, place, "latest")
	run(t, place, place, convert.Options{Compression: buildcache.Zstd})
	of := map[digest.Digest]buildcache.Descriptor{} // what has which diffID
	for _, layer := range load(t, place, "latest").Root.Layers {
		of[layer.DiffID()] = layer
	}
	retag(t, path, func(root *buildcache.Root, config *buildcache.Config) {
		*config = *before.Config
		root.Layers = nil
		for _, layer := range before.Root.Layers {
			root.Layers = append(root.Layers, of[layer.DiffID()])
		}
		root.Config = before.Root.Config
	})
	return before.Descriptor.Digest, before.Root.Layers
}

// editIndex changes index.json.
func editIndex(t *testing.T, path string, change func(entries []map[string]any) []map[string]any) {
	t.Helper()
	file := filepath.Join(path, "index.json")
	var index struct {
		SchemaVersion int              `json:"schemaVersion"`
		Manifests     []map[string]any `json:"manifests"`
	}
	if err := json.Unmarshal(readFile(t, file), &index); err != nil {
		t.Fatal(err)
	}
	index.Manifests = change(index.Manifests)
	overwrite(t, file, marshal(t, index))
}

// editRoot changes the bytes of a root, and not its digest.
func editRoot(t *testing.T, path, old, with string) {
	t.Helper()
	file := filepath.Join(path, "blobs", "sha256", layouttest.Entry(t, open(t, path), "latest").Descriptor.Digest.Encoded())
	raw := readFile(t, file)
	if !bytes.Contains(raw, []byte(old)) {
		t.Fatalf("%s is not in the root", old)
	}
	overwrite(t, file, bytes.ReplaceAll(raw, []byte(old), []byte(with)))
}

// repairable are the ways in which caches are found broken that can be mended. all says that no result is lost by that.
var repairable = []struct {
	name   string
	damage func(t *testing.T, path string)
	kinds  []string
	deep   bool
	all    bool
}{
	{"a layer is missing", func(t *testing.T, path string) { remove(t, path, topmost(t, path)) }, []string{"blob-missing"}, false, false},
	{"a layer is damaged", func(t *testing.T, path string) { flip(middle)(t, path, topmost(t, path)) }, []string{"blob-damaged"}, false, false},
	{"a layer is torn", func(t *testing.T, path string) { truncate(t, path, topmost(t, path)) }, []string{"blob-damaged"}, false, false},
	{"no diffID", func(t *testing.T, path string) {
		editLayer(t, path, lowest(t, path).Digest, func(d *buildcache.Descriptor) {
			*d = d.Clone()
			delete(d.Annotations, buildcache.AnnotationDiffID)
		})
	}, []string{"layer-no-diffid"}, false, true},
	{"another diffID", func(t *testing.T, path string) { wrongDiffID(t, path, lowest(t, path)) }, []string{"layer-diffid"}, true, true},
	{"wrong size", func(t *testing.T, path string) {
		editLayer(t, path, lowest(t, path).Digest, func(d *buildcache.Descriptor) { d.Size++ })
	}, []string{"blob-size"}, false, true},
	{"wrong media type", func(t *testing.T, path string) {
		editLayer(t, path, lowest(t, path).Digest, func(d *buildcache.Descriptor) { d.MediaType = "application/vnd.oci.image.layer.v1.tar" })
	}, []string{"layer-mislabelled"}, false, true},
	{"unknown media type", func(t *testing.T, path string) {
		editLayer(t, path, lowest(t, path).Digest, func(d *buildcache.Descriptor) { d.MediaType = "application/x-tar" })
	}, []string{"layer-mislabelled"}, false, true},
	{"an age that is no time", func(t *testing.T, path string) {
		editLayer(t, path, lowest(t, path).Digest, func(d *buildcache.Descriptor) {
			*d = d.Clone()
			d.Annotations[buildcache.AnnotationCreatedAt] = "yesterday"
		})
	}, []string{"layer-createdat"}, false, true},
	{"a layer is not listed", func(t *testing.T, path string) {
		gone := topmost(t, path).Digest
		retag(t, path, func(root *buildcache.Root, _ *buildcache.Config) {
			root.Layers = slices.DeleteFunc(root.Layers, func(d buildcache.Descriptor) bool { return d.Digest == gone })
		})
	}, []string{"layer-unlisted"}, false, false},
	{"config not rewritten, the old root is there", func(t *testing.T, path string) { notRewritten(t, path) }, []string{"layer-unlisted"}, false, true},
	{"config not rewritten, the old layers are there", func(t *testing.T, path string) {
		root, _ := notRewritten(t, path)
		remove(t, path, buildcache.Descriptor{Digest: root})
	}, []string{"layer-unlisted"}, false, true},
	{"wrapped in an index", func(t *testing.T, path string) {
		place := open(t, path)
		root := layouttest.Entry(t, place, "latest").Descriptor
		index := putBlob(t, place, marshal(t, map[string]any{
			"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIIndex,
			"manifests": []any{map[string]any{"mediaType": root.MediaType, "digest": root.Digest, "size": root.Size}},
		}))
		index.MediaType = buildcache.MediaTypeOCIIndex
		if err := place.Tag(t.Context(), "latest", index, root.Digest); err != nil {
			t.Fatal(err)
		}
	}, []string{"cache-in-index"}, false, true},
	{"the tag names nothing", func(t *testing.T, path string) {
		editIndex(t, path, func(entries []map[string]any) []map[string]any {
			entries[0]["digest"] = digest.FromString("nothing")
			return entries
		})
	}, []string{"root-missing"}, false, true},
	{"a diffID in the root is damaged", func(t *testing.T, path string) {
		said := lowest(t, path).DiffID().String()
		editRoot(t, path, said, digest.FromString("something else").String())
	}, []string{"layer-diffid", "root-damaged"}, false, true},
	{"a date in the root is damaged", func(t *testing.T, path string) { editRoot(t, path, `"2026-`, `"2027-`) }, []string{"root-damaged"}, false, true},
	{"the tag is lost", func(t *testing.T, path string) {
		editIndex(t, path, func(entries []map[string]any) []map[string]any {
			delete(entries[0], "annotations")
			return entries
		})
	}, []string{"untagged"}, false, true},
	{"the tag is there twice", func(t *testing.T, path string) {
		editIndex(t, path, func(entries []map[string]any) []map[string]any {
			gone := map[string]any{
				"mediaType": entries[0]["mediaType"], "digest": digest.FromString("nothing"), "size": 4, "annotations": entries[0]["annotations"],
			}
			return append([]map[string]any{gone}, entries...)
		})
	}, []string{"tag-shadowed"}, false, true},
	{"index.json is torn", func(t *testing.T, path string) {
		if err := os.Truncate(filepath.Join(path, "index.json"), 90); err != nil {
			t.Fatal(err)
		}
	}, []string{"index-invalid", "root-missing"}, false, true},
	{"index.json is torn at its end", func(t *testing.T, path string) {
		file := filepath.Join(path, "index.json")
		if err := os.Truncate(file, int64(len(readFile(t, file))-2)); err != nil {
			t.Fatal(err)
		}
	}, []string{"index-invalid"}, false, true},
}

// TestRepair mends every kind of damage so that verify finds no error, and does nothing without being told to.
func TestRepair(t *testing.T) {
	t.Parallel()
	for i, form := range []string{"artifact-gzip", "docker-list-gzip"} {
		for j, tt := range repairable {
			if (i+j)%2 == 0 && quicktest.Rounds(0, 1) == 0 {
				continue // a few: each in one form
			}
			t.Run(form+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				path := layouttest.CopyCorpus(t, form)
				addLock(t, path)
				whole := load(t, open(t, path), "latest")
				tt.damage(t, path)
				dir := open(t, path)
				before := layouttest.Tree(t, path)
				o := convert.RepairOptions{Deep: tt.deep}
				if kinds, left, _ := repairAll(t, dir, o); len(kinds) == 0 || left > 0 {
					t.Errorf("it would mend %q, and leave %d", kinds, left)
				}
				layouttest.WantTree(t, path, before)

				o.Write = true
				kinds, left, results := repairAll(t, dir, o)
				if !slices.Equal(kinds, tt.kinds) || left > 0 {
					t.Errorf("mended %q, want %q; %d left", kinds, tt.kinds, left)
				}
				report, err := inspect.VerifyAll(t.Context(), dir, inspect.Options{Deep: true})
				if err != nil || buildcache.HasErrors(report.Problems) || report.Caches != 1 {
					t.Errorf("%v (%v)", report.Problems, err)
				}
				now := load(t, dir, "latest")
				if tt.all {
					wantEqual(t, "records", len(now.Config.Records), len(whole.Config.Records))
					wantSameDiffIDs(t, whole, now)
				} else if lost := results[0].Lost; lost.Results == 0 || len(now.Config.Records) == 0 {
					t.Errorf("lost %+v", lost)
				}
				again, left, _ := repairAll(t, dir, o)
				if len(again) > 0 || left > 0 {
					t.Errorf("again %q, %d left", again, left)
				}
			})
		}
	}
}

// TestRepairLeavesWhole says that a root is judged by its own digest, and that verify and repair agree on what is well.
func TestRepairLeavesWhole(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	raw := readFile(t, filepath.Join(path, "blobs", "sha256", layouttest.Entry(t, open(t, path), "latest").Descriptor.Digest.Encoded()))
	root := digest.SHA512.FromBytes(raw)
	if err := os.Mkdir(filepath.Join(path, "blobs", "sha512"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "blobs", "sha512", root.Encoded()), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	editIndex(t, path, func(entries []map[string]any) []map[string]any {
		entries[0]["digest"] = root
		return entries
	})
	dir := open(t, path)
	report, err := inspect.VerifyTag(t.Context(), dir, "latest", inspect.Options{Deep: true})
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("%v (%v)", report.Problems, err)
	}
	if kinds, left, _ := repairAll(t, dir, convert.RepairOptions{Deep: true}); len(kinds) > 0 || left > 0 {
		t.Errorf("it would mend %q, and leave %d", kinds, left)
	}
}

// wantSameDiffIDs wants the layers in the same places of two configs to hold the same.
func wantSameDiffIDs(t *testing.T, old, now *layout.Cache) {
	t.Helper()
	ids := func(c *layout.Cache) (ids []string) {
		listed := c.Root.LayersByDigest()
		for _, layer := range c.Config.Layers {
			ids = append(ids, string(listed[layer.Blob].DiffID()))
		}
		slices.Sort(ids)
		return ids
	}
	wantEqual(t, "diffIDs", ids(now), ids(old))
}

// TestRepairFromBase takes what is missing from another place, so that nothing is lost.
func TestRepairFromBase(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, path string, cache *layout.Cache){
		"layer missing":  func(t *testing.T, path string, cache *layout.Cache) { remove(t, path, cache.Root.Layers[0]) },
		"layer damaged":  func(t *testing.T, path string, cache *layout.Cache) { flip(middle)(t, path, cache.Root.Layers[0]) },
		"config missing": func(t *testing.T, path string, cache *layout.Cache) { remove(t, path, cache.Root.Config) },
		"config damaged": func(t *testing.T, path string, cache *layout.Cache) { flip(middle)(t, path, cache.Root.Config) },
		"root missing":   func(t *testing.T, path string, cache *layout.Cache) { remove(t, path, cache.Descriptor) },
		"root damaged":   func(t *testing.T, path string, cache *layout.Cache) { flip(middle)(t, path, cache.Descriptor) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := layouttest.CopyCorpus(t, "artifact-gzip")
			addLock(t, path)
			whole := load(t, open(t, path), "latest")
			damage(t, path, whole)
			dir := open(t, path)
			before := layouttest.Tree(t, path)
			o := convert.RepairOptions{Base: []layout.Source{openCorpus(t, "merge-small2-fresh"), forgetful{openCorpus(t, "artifact-gzip")}}}
			if kinds, _, _ := repairAll(t, dir, o); len(kinds) == 0 {
				t.Error("it would mend nothing")
			}
			layouttest.WantTree(t, path, before)
			o.Write = true
			if kinds, left, _ := repairAll(t, dir, o); len(kinds) == 0 || left > 0 {
				t.Errorf("mended %q, left %d", kinds, left)
			}
			wantClean(t, dir, "latest")
			wantEqual(t, "root", tagsOf(t, dir)["latest"], whole.Descriptor.Digest)
		})
	}
}

// TestRepairLeaves what can't be mended, and says so.
func TestRepairLeaves(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, path string, cache *layout.Cache){
		"config missing": func(t *testing.T, path string, cache *layout.Cache) { remove(t, path, cache.Root.Config) },
		"config damaged": func(t *testing.T, path string, cache *layout.Cache) { flip(middle)(t, path, cache.Root.Config) },
		"root missing":   func(t *testing.T, path string, cache *layout.Cache) { remove(t, path, cache.Descriptor) },
		"root is nonsense": func(t *testing.T, path string, cache *layout.Cache) {
			overwrite(t, blobPath(path, cache.Descriptor.Digest), []byte("nonsense"))
		},
		"all layers missing": func(t *testing.T, path string, cache *layout.Cache) {
			for _, layer := range cache.Root.LayersByDigest() {
				remove(t, path, layer)
			}
		},
		"the tag is there twice, and names nothing whole": func(t *testing.T, path string, cache *layout.Cache) {
			overwrite(t, blobPath(path, cache.Descriptor.Digest), []byte("nonsense"))
			gone := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("gone")}
			editIndex(t, path, func(entries []map[string]any) []map[string]any { return append(entries, entries[0]) })
			addEntry(t, path, "latest", gone, nil)
		},
		"records link to nowhere": func(t *testing.T, path string, _ *layout.Cache) {
			retag(t, path, func(_ *buildcache.Root, config *buildcache.Config) {
				config.Records[0].Inputs = [][]buildcache.Input{{{Link: 4711}}}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := layouttest.CopyCorpus(t, "artifact-gzip")
			addLock(t, path)
			damage(t, path, load(t, open(t, path), "latest"))
			before := layouttest.Tree(t, path)
			_, left, _ := repairAll(t, open(t, path), convert.RepairOptions{Write: true})
			if left == 0 {
				t.Error("nothing is left")
			}
			layouttest.WantTree(t, path, before, ".ocicache")
		})
	}
}

// TestRepairElsewhere mends in a place without random access, as registries are.
func TestRepairElsewhere(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	addLock(t, path)
	gone := topmost(t, path)
	remove(t, path, gone)
	editLayer(t, path, lowest(t, path).Digest, func(d *buildcache.Descriptor) {
		*d = d.Clone()
		delete(d.Annotations, buildcache.AnnotationDiffID)
		d.Size++
	})
	dir := open(t, path)
	kinds, left, _ := repairAll(t, forgetful{dir}, convert.RepairOptions{Write: true})
	if want := []string{"blob-missing", "blob-size", "layer-no-diffid"}; !slices.Equal(kinds, want) || left > 0 {
		t.Errorf("mended %q, want %q; %d left", kinds, want, left)
	}
	wantClean(t, dir, "latest")
}

// keeping is a place far away that keeps a damaged blob, whatever is put there.
type keeping struct {
	layout.Place
	blob digest.Digest
}

func (k keeping) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if blob.Digest == k.blob {
		return io.NopCloser(bytes.NewReader(make([]byte, blob.Size))), nil
	}
	return k.Place.Open(ctx, blob)
}

// TestRepairKeptBlob drops nothing that a base has because the place keeps its damaged copy, unless it is repaired without the base. It says
// that a place far away was only asked for its layers.
func TestRepairKeptBlob(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	far := keeping{layout.NewMemory("far"), topmost(t, path).Digest}
	base := open(t, path)
	syncAll(t, base, far.Place, convert.SyncOptions{})
	entry := layouttest.Entry(t, far, "latest")
	o := convert.RepairOptions{Base: []layout.Source{base}}
	asked, err := convert.RepairCache(t.Context(), far, entry, o)
	if err != nil || len(asked.Repairs) != 0 || asked.Checked != convert.CheckedBlobs {
		t.Errorf("%+v (%v)", asked, err)
	}
	o.Deep, o.Write = true, true
	kept, err := convert.RepairCache(t.Context(), far, entry, o)
	if err != nil || kept.Written || kept.To != "" || len(kept.Left) != 1 || kept.Left[0].Kind != buildcache.BlobDamaged ||
		!strings.Contains(kept.Left[0].Detail, "the registry keeps its damaged copy") {
		t.Errorf("%+v (%v)", kept, err)
	}
	o.Base = nil
	done, err := convert.RepairCache(t.Context(), far, entry, o)
	if err != nil || !done.Written || done.Checked != convert.CheckedBytes || len(done.Repairs) != 1 || done.Lost.Results == 0 {
		t.Errorf("%+v (%v)", done, err)
	}
	again, err := convert.RepairCache(t.Context(), far, layouttest.Entry(t, far, "latest"), o)
	if err != nil || len(again.Repairs) != 0 {
		t.Errorf("%+v (%v)", again, err)
	}
}

// addEntry adds an entry to index.json.
func addEntry(t *testing.T, path, tag string, root buildcache.Descriptor, more map[string]any) {
	t.Helper()
	editIndex(t, path, func(entries []map[string]any) []map[string]any {
		entry := map[string]any{
			"mediaType": root.MediaType, "digest": root.Digest, "size": root.Size,
			"annotations": map[string]string{"org.opencontainers.image.ref.name": tag},
		}
		maps.Copy(entry, more)
		return append(entries, entry)
	})
}

// TestRepairDangling gives a tag that names nothing a root that lies there unnamed only where there is no other entry, or where
// somebody says so, and never one of an image. What is said of it without Write is what is done with it.
func TestRepairDangling(t *testing.T) {
	t.Parallel()
	gone := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("gone"), Size: 4}
	image := map[string]any{"platform": map[string]string{"os": "linux", "architecture": "amd64"}}
	for _, tt := range []struct {
		name           string
		whole, root    bool // there is another cache with a tag; the root is said
		more           map[string]any
		tags           []string
		given, foreign bool
	}{
		{name: "alone", tags: []string{"a"}, given: true},
		{name: "beside a cache", whole: true, tags: []string{"a"}},
		{name: "beside a cache, and it is said", whole: true, root: true, tags: []string{"a"}, given: true},
		{name: "two", tags: []string{"a", "b"}},
		{name: "two, and it is said", root: true, tags: []string{"a", "b"}, given: true},
		{name: "an image's", more: image, tags: []string{"a"}, foreign: true},
		{name: "an image's, and it is said", more: image, root: true, tags: []string{"a"}, foreign: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := layouttest.CopyCorpus(t, "artifact-gzip")
			if tt.whole {
				syncAll(t, openCorpus(t, "multi-platform"), open(t, path), convert.SyncOptions{})
			}
			unnamed := layouttest.Entry(t, openCorpus(t, "artifact-gzip"), "latest").Descriptor.Digest
			editIndex(t, path, func(entries []map[string]any) []map[string]any {
				return slices.DeleteFunc(entries, func(e map[string]any) bool { return e["digest"] == string(unnamed) })
			})
			for _, tag := range tt.tags {
				addEntry(t, path, tag, gone, tt.more)
			}
			o := convert.RepairOptions{}
			if tt.root {
				o.Root = unnamed
			}
			_, _, would := repairAll(t, open(t, path), o)
			o.Write = true
			before := readFile(t, filepath.Join(path, "index.json"))
			_, _, done := repairAll(t, open(t, path), o)
			for i, is := range done {
				if !slices.Contains(tt.tags, is.Tag) {
					continue
				}
				wantEqual(t, "root", would[i].To, is.To)
				if is.Foreign != tt.foreign || (len(is.Left) > 0) == (tt.given || tt.foreign) || is.Written != tt.given {
					t.Errorf("%+v", is)
				}
				if tt.given && is.To != unnamed {
					t.Errorf("it gets %s", is.To)
				}
			}
			if same := bytes.Equal(before, readFile(t, filepath.Join(path, "index.json"))); same == tt.given {
				t.Errorf("index.json is the same: %v", same)
			}
		})
	}
}

// TestRepairSharedBlob leaves a damaged blob where something else that has a tag names it too, and removes it when nothing does.
func TestRepairSharedBlob(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	addLock(t, path)
	root := layouttest.Entry(t, open(t, path), "latest").Descriptor
	addEntry(t, path, "other", root, nil)
	layer := topmost(t, path)
	flip(middle)(t, path, layer)
	for _, tag := range []string{"latest", "other"} {
		place := open(t, path)
		done, err := convert.RepairCache(t.Context(), place, layouttest.Entry(t, place, tag), convert.RepairOptions{Write: true})
		if err != nil || !done.Written {
			t.Fatalf("%+v (%v)", done, err)
		}
		_, err = os.Stat(blobPath(path, layer.Digest))
		if kept := tag == "latest"; kept != (err == nil) || kept != slices.Contains(done.Kept, layer.Digest) {
			t.Errorf("tag %s: kept %v (%v)", tag, done.Kept, err)
		}
		wantClean(t, place, tag)
	}
}

// TestRepairIsOneChange takes a look at how often index.json gets other bytes: whoever is killed between two would lose a cache.
func TestRepairIsOneChange(t *testing.T) {
	t.Parallel()
	for _, tt := range repairable {
		switch tt.name {
		case "the tag is there twice", "the tag is lost", "index.json is torn", "index.json is torn at its end":
		default:
			continue
		}
		path := layouttest.CopyCorpus(t, "artifact-gzip")
		tt.damage(t, path)
		changes := 0
		ctx := durable.WithFault(t.Context(), func(op durable.Op, path string) error {
			if op == durable.OpRename && filepath.Base(path) == "index.json" {
				changes++
			}
			return nil
		})
		o := convert.RepairOptions{Write: true}
		place, _, err := convert.RepairIndex(ctx, open(t, path), o)
		if err == nil {
			_, _, err = convert.RepairTags(ctx, place, o)
		}
		if err != nil || changes != 1 {
			t.Errorf("%s: %d changes (%v)", tt.name, changes, err)
		}
		wantClean(t, open(t, path), "latest")
	}
}

// TestRepairUnreadRoot takes no root that the system failed to read for one that is damaged.
func TestRepairUnreadRoot(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	addLock(t, path)
	root := layouttest.Entry(t, open(t, path), "latest").Descriptor
	addEntry(t, path, "latest", buildcache.Descriptor{MediaType: root.MediaType, Digest: digest.FromString("gone")}, nil)
	before := layouttest.Tree(t, path)
	ctx := durable.WithFault(t.Context(), func(op durable.Op, at string) error {
		if op == durable.OpOpen && strings.HasSuffix(at, root.Digest.Encoded()) {
			return &fs.PathError{Op: "open", Path: at, Err: syscall.EIO}
		}
		return nil
	})
	o := convert.RepairOptions{Write: true}
	if _, _, err := convert.RepairTags(ctx, open(t, path), o); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
	entries, err := layout.Survey(ctx, open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := convert.RepairCache(ctx, open(t, path), entries[0], o); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
	layouttest.WantTree(t, path, before, ".ocicache")
}

// TestRepairWaits waits for whoever deletes, before anything is changed.
func TestRepairWaits(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	addLock(t, path)
	editIndex(t, path, func(entries []map[string]any) []map[string]any { return append(entries, entries[0]) })
	before := layouttest.Tree(t, path)
	root, err := durable.On(t.Context()).OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := root.Lock(t.Context(), "cache.lock", true, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	place, err := layout.Open(path, layout.Options{LockTimeout: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = convert.RepairTags(t.Context(), place, convert.RepairOptions{Write: true})
	var locked *layout.LockedError
	if !errors.As(err, &locked) {
		t.Errorf("%v", err)
	}
	layouttest.WantTree(t, path, before)
	if err := errors.Join(lock.Close(), root.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestRepairByPosition takes layers by their places only where somebody says so: that they are in the right order is a guess.
func TestRepairByPosition(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"artifact-gzip", "docker-list-gzip"} {
		path := layouttest.CopyCorpus(t, form)
		addLock(t, path)
		whole := load(t, open(t, path), "latest")
		root, layers := notRewritten(t, path)
		remove(t, path, buildcache.Descriptor{Digest: root})
		for _, layer := range layers {
			_ = os.Remove(blobPath(path, layer.Digest)) // some are there twice
		}
		_, left, results := repairAll(t, open(t, path), convert.RepairOptions{Write: true})
		if left != 1 || results[0].Written || !strings.Contains(results[0].Left[0].Detail, "use --by-position") {
			t.Errorf("%s: %+v", form, results[0])
		}
		dir := open(t, path)
		kinds, left, results := repairAll(t, dir, convert.RepairOptions{Write: true, ByPosition: true})
		if !slices.Equal(kinds, []string{"layer-unlisted"}) || left > 0 || !strings.Contains(results[0].Repairs[0].What, "only by its position") {
			t.Errorf("%s: %q, %d left, %+v", form, kinds, left, results[0])
		}
		wantClean(t, dir, "latest")
		now := load(t, dir, "latest")
		wantEqual(t, "records", len(now.Config.Records), len(whole.Config.Records))
		wantSameDiffIDs(t, whole, now)
	}
}
