package convert_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// TestSameBytes wants one result, whatever the number of jobs and processors. It is not
// parallel, as it changes what is the whole process's.
func TestSameBytes(t *testing.T) {
	src := gzipped(t, 2, quicktest.Rounds(1300<<10, 2300<<10)) // more than the buffers between two stages hold
	for _, o := range []convert.Options{
		{Compression: buildcache.Zstd}, {Compression: buildcache.Estargz}, {Compression: buildcache.Gzip, Force: true, Level: 1},
	} {
		t.Run(string(o.Compression), func(t *testing.T) {
			var want digest.Digest
			check := func() {
				dst := layouttest.Create(t)
				got := run(t, src, dst, o).To.Digest
				if want == "" {
					want = got
					wantClean(t, dst, "latest")
				}
				if got != want {
					t.Errorf("%d jobs, %d processors: %s, want %s", o.Jobs, runtime.GOMAXPROCS(0), got, want)
				}
			}
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
			for _, cores := range []struct{ processors, jobs int }{{1, 1}, {4, 8}, {1, 8}, {4, 2}}[:quicktest.Rounds(2, 4)] {
				runtime.GOMAXPROCS(cores.processors)
				o.Jobs = cores.jobs
				check()
			}
		})
	}
}

// actions counts what became of the layers.
func actions(result *convert.Result) map[convert.Action]int {
	counts := map[convert.Action]int{}
	for _, layer := range result.Layers {
		counts[layer.Action]++
	}
	return counts
}

// TestJournal converts the same again in the same layout.
func TestJournal(t *testing.T) {
	t.Parallel()
	for _, target := range []buildcache.Compression{buildcache.Zstd, buildcache.Estargz} {
		t.Run(string(target), func(t *testing.T) {
			t.Parallel()
			path := layouttest.CopyCorpus(t, "artifact-gzip")
			place := open(t, path)
			before := layouttest.Entry(t, place, "latest").Descriptor
			o := convert.Options{Compression: target}
			first := run(t, place, place, o)
			wantEqual(t, "actions", actions(first), map[convert.Action]int{convert.Recompress: 14})
			again := func(what string, want map[convert.Action]int) {
				t.Helper()
				if err := place.Tag(t.Context(), "latest", before, first.To.Digest); err != nil {
					t.Fatal(err)
				}
				result := run(t, place, place, o)
				wantEqual(t, what+": actions", actions(result), want)
				wantEqual(t, what+": root", result.To, first.To)
			}
			again("with the journal", map[convert.Action]int{convert.Reuse: 14})

			journal := filepath.Join(path, ".ocicache", "journal")
			lines := readFile(t, journal)
			if err := os.WriteFile(journal, slices.Concat([]byte("{\"torn\":"), lines, []byte("\n{\"from\":")), 0o644); err != nil {
				t.Fatal(err)
			}
			again("with torn lines", map[convert.Action]int{convert.Reuse: 14})

			if err := os.Remove(blobPath(path, first.Layers[3].To)); err != nil {
				t.Fatal(err)
			}
			again("with a blob gone", map[convert.Action]int{convert.Reuse: 13, convert.Recompress: 1})

			if err := os.Remove(journal); err != nil {
				t.Fatal(err)
			}
			again("without the journal", map[convert.Action]int{convert.Recompress: 14})
			wantClean(t, place, "latest")
			wantNoTemporary(t, path)
		})
	}
}

// TestJournalKeepsRecipesApart wants no layer taken of another level.
func TestJournalKeepsRecipesApart(t *testing.T) {
	t.Parallel()
	dst := layouttest.Create(t)
	src := openCorpus(t, "artifact-zstd")
	roots := map[digest.Digest]int{}
	for _, level := range []int{0, 1, 9} {
		result, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), dst, "latest",
			convert.Options{Compression: buildcache.Gzip, Level: level})
		if err != nil {
			t.Fatal(err)
		}
		roots[result.To.Digest] = level
		if level > 0 && actions(result)[convert.Reuse] > 0 {
			t.Errorf("level %d: %v", level, actions(result))
		}
	}
	if len(roots) != 3 {
		t.Errorf("three levels gave %v", roots)
	}
}

// TestHeld takes what another cache of the destination holds.
func TestHeld(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		o    convert.Options
		want map[convert.Action]int
	}{
		{"plain", convert.Options{Compression: buildcache.Gzip}, map[convert.Action]int{convert.Reuse: 14}},
		{"level", convert.Options{Compression: buildcache.Gzip, Level: 6}, map[convert.Action]int{convert.Recompress: 14}},
		{"force", convert.Options{Compression: buildcache.Gzip, Force: true}, map[convert.Action]int{convert.Recompress: 14}},
		{"estargz", convert.Options{Compression: buildcache.Estargz}, map[convert.Action]int{convert.Recompress: 14}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dst := layouttest.Create(t)
			held := openCorpus(t, "artifact-gzip")
			if _, err := convert.Convert(t.Context(), held, layouttest.Entry(t, held, ""), dst, "other", convert.Options{}); err != nil {
				t.Fatal(err)
			}
			src := watch(openCorpus(t, "artifact-zstd"))
			var heard events
			tt.o.OnEvent = heard.handle
			result := run(t, src, dst, tt.o)
			wantEqual(t, "actions", actions(result), tt.want)
			wantEqual(t, "recompressed", len(heard.begun["recompress"]), tt.want[convert.Recompress])
			theirs := load(t, held, "").Root.LayersByDigest()
			for layer := range load(t, dst, "latest").Root.LayersByDigest() {
				if _, ok := theirs[layer]; ok != (tt.name == "plain") {
					t.Errorf("%s: held before: %v", layer, ok)
				}
			}
			if tt.name == "plain" {
				wantEqual(t, "moved", result.Moved, int64(0))
				wantEqual(t, "read, which proves", result.Read, result.Saved)
			}
			wantClean(t, dst, "latest")
			wantClean(t, dst, "other")
		})
	}
}

// TestHeldIsGivenUp takes nothing from roots that are not tagged or not readable, nor blobs that are not there or of
// another compression than their media type says.
func TestHeldIsGivenUp(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	held := load(t, open(t, path), "latest")
	spoil := func(layer buildcache.Descriptor, raw []byte) {
		t.Helper()
		if err := os.Remove(blobPath(path, layer.Digest)); err != nil {
			t.Fatal(err)
		}
		if raw != nil {
			if err := os.WriteFile(blobPath(path, layer.Digest), raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	distinct := layersOf(held)
	spoil(distinct[0], nil)
	spoil(distinct[1], make([]byte, distinct[1].Size)) // no gzip
	spoil(distinct[2], []byte("short"))
	holdings, err := convert.Held(t.Context(), open(t, path), buildcache.Gzip)
	if err != nil {
		t.Fatal(err)
	}
	for i, layer := range distinct {
		if _, ok := holdings[layer.DiffID()]; ok != (i > 2) {
			t.Errorf("layer %d: held: %v", i, ok)
		}
	}
	root := held.Descriptor
	spoil(root, []byte("{}"))
	if holdings, err = convert.Held(t.Context(), open(t, path), buildcache.Gzip); err != nil || len(holdings) > 0 {
		t.Errorf("of a root that can't be read: %v, %v", holdings, err)
	}
}

// layersOf returns the distinct layers in order.
func layersOf(cache *layout.Cache) []buildcache.Descriptor {
	var layers []buildcache.Descriptor
	seen := map[digest.Digest]bool{}
	for _, layer := range cache.Root.Layers {
		if !seen[layer.Digest] {
			layers = append(layers, layer)
		}
		seen[layer.Digest] = true
	}
	return layers
}

// TestReuseIsGone deletes a blob after the plan has counted on it.
func TestReuseIsGone(t *testing.T) {
	t.Parallel()
	dst := layouttest.Create(t)
	src := openCorpus(t, "artifact-gzip")
	first := run(t, src, dst, convert.Options{Compression: buildcache.Zstd})
	gone := first.Layers[0].To
	result := run(t, src, dst, convert.Options{Compression: buildcache.Zstd, OnEvent: func(e layout.Event) {
		if e.Kind == layout.EventPlan && e.Count > 1 {
			if err := os.Remove(blobPath(dst.String(), gone)); err != nil {
				t.Error(err)
			}
		}
	}})
	wantEqual(t, "root", result.To.Digest, first.To.Digest)
	wantEqual(t, "actions", actions(result), map[convert.Action]int{convert.Reuse: 13, convert.Recompress: 1})
	wantClean(t, dst, "latest")
}

// TestNothingToDo converts to what is there already.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "oci-index-zstd")
	before := layouttest.Tree(t, path)
	place := watch(open(t, path))
	result := run(t, place, place, convert.Options{Form: buildcache.OCIIndex, Compression: buildcache.Zstd})
	if !result.Unchanged || result.Moved != 0 || result.To.Digest != result.From.Digest {
		t.Errorf("%+v", result)
	}
	layouttest.WantTree(t, path, before)
}

// TestDryRun writes nothing, and says what would be done.
func TestDryRun(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	before := layouttest.Tree(t, path)
	place := open(t, path)
	form := run(t, place, place, convert.Options{Form: buildcache.DockerList, DryRun: true})
	if !form.DryRun || form.To.Digest != layouttest.Entry(t, openCorpus(t, "docker-list-gzip"), "").Descriptor.Digest {
		t.Errorf("%+v", form)
	}
	packed := run(t, place, place, convert.Options{Compression: buildcache.Zstd, DryRun: true})
	if packed.To.Digest != "" || actions(packed)[convert.Recompress] != 14 {
		t.Errorf("%+v", packed)
	}
	nowhere := run(t, place, nil, convert.Options{Compression: buildcache.Zstd, DryRun: true})
	nowhere.Took, packed.Took = 0, 0
	wantEqual(t, "without a destination", nowhere, packed)
	layouttest.WantTree(t, path, before)
}

// TestJournalPoisoned has a journal that says something else of estargz blobs than what is in them: BuildKit would look
// for a table of contents that is not there.
func TestJournalPoisoned(t *testing.T) {
	t.Parallel()
	for _, poison := range []struct{ name, pattern, with string }{
		{"table of contents", `"tocDigest":"[^"]*"`, `"tocDigest":"` + digest.FromString("poison").String() + `"`},
		{"no table of contents", `"tocDigest":"[^"]*",`, ""},
		{"size", `"uncompressedSize":[0-9]+`, `"uncompressedSize":1`},
	} {
		t.Run(poison.name, func(t *testing.T) {
			t.Parallel()
			src, path := openCorpus(t, "artifact-gzip"), layouttest.Create(t).String()
			dst := open(t, path)
			o := convert.Options{Compression: buildcache.Estargz}
			first := run(t, src, dst, o)
			journal := filepath.Join(path, ".ocicache", "journal")
			lines := regexp.MustCompile(poison.pattern).ReplaceAll(readFile(t, journal), []byte(poison.with))
			if err := os.WriteFile(journal, lines, 0o644); err != nil {
				t.Fatal(err)
			}
			again := run(t, src, dst, o)
			wantEqual(t, "root", again.To, first.To)
			wantEqual(t, "actions", actions(again), map[convert.Action]int{convert.Recompress: 14})
			wantClean(t, dst, "latest")
		})
	}
}
