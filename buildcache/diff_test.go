package buildcache_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/quicktest"
)

func diff(t testing.TB, a, b buildcache.Cache) *buildcache.Difference {
	t.Helper()
	d, err := buildcache.Diff(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// at is a layer of tiny on another, "" for none.
func at(name, below string) buildcache.LayerAt {
	layer := buildcache.LayerAt{Blob: sum(name), DiffID: sum("content of " + string([]rune(name)[:1])), Size: 10}
	if below != "" {
		layer.Below = sum(below)
	}
	return layer
}

func record(name string, index int) buildcache.RecordAt {
	return buildcache.RecordAt{Digest: sum(name), Index: index}
}

func TestDiff(t *testing.T) {
	config := int64(0) // the configs' sizes differ from case to case
	for _, test := range []struct {
		about   string
		a, b    []string
		layers  buildcache.LayerDifference
		records buildcache.RecordDifference
		toB     int // blobs of A that B lacks, without the config
		toA     int
	}{
		{about: "the same in another order", a: []string{"layer x", "layer y", "p = x @ 01", "q = y @ 02"}, b: []string{"layer y", "layer x", "q = y @ 02", "p = x @ 01"}},
		{
			about:   "new and gone",
			a:       []string{"layer x", "layer y on x", "p = x @ 01", "q p = y @ 02"},
			b:       []string{"layer x", "layer z on x", "p = x @ 01", "o p = z @ 02"},
			layers:  buildcache.LayerDifference{Gone: []buildcache.LayerAt{at("y", "x")}, New: []buildcache.LayerAt{at("z", "x")}},
			records: buildcache.RecordDifference{Gone: []buildcache.RecordAt{record("q", 1)}, New: []buildcache.RecordAt{record("o", 1)}},
			toA:     1, toB: 1,
		},
		{
			about:   "recompressed, and what lies on it is where it was",
			a:       []string{"layer x", "layer y on x", "p = x @ 01", "q p = y @ 02"},
			b:       []string{"layer x'", "layer y on x'", "p = x' @ 01", "q p = y @ 02"},
			layers:  buildcache.LayerDifference{Recompressed: []buildcache.LayerChange{{A: at("x", ""), B: at("x'", "")}}},
			records: buildcache.RecordDifference{Changed: []buildcache.RecordChange{{A: record("p", 0), B: record("p", 0), Result: "recompressed"}, {A: record("q", 1), B: record("q", 1), Result: "recompressed"}}},
			toA:     1, toB: 1,
		},
		{
			about:   "moved onto another layer",
			a:       []string{"layer x", "layer y on x", "q = y @ 02"},
			b:       []string{"layer z", "layer y' on z", "q = y' @ 02"},
			layers:  buildcache.LayerDifference{Gone: []buildcache.LayerAt{at("x", "")}, New: []buildcache.LayerAt{at("z", "")}, Moved: []buildcache.LayerChange{{A: at("y", "x"), B: at("y'", "z")}}},
			records: buildcache.RecordDifference{Changed: []buildcache.RecordChange{{A: record("q", 0), B: record("q", 0), Result: "content"}}},
			toA:     2, toB: 2,
		},
		{
			about:   "in one place more",
			a:       []string{"layer x", "layer y on x", "p = x @ 01", "q = y @ 02"},
			b:       []string{"layer x", "layer y on x", "layer y' ", "p = x @ 01", "q = y @ 02", "r = y' @ 03"},
			layers:  buildcache.LayerDifference{New: []buildcache.LayerAt{at("y'", "")}},
			records: buildcache.RecordDifference{New: []buildcache.RecordAt{record("r", 2)}},
			toA:     1,
		},
		{
			about: "results",
			a:     []string{"layer x", "n", "o = x @ 01", "p = x @ 01", "q = x @ 01 = x @ 02"},
			b:     []string{"layer x", "n = x @ 01", "o", "p = x @ 02", "q = x @ 02"},
			records: buildcache.RecordDifference{Changed: []buildcache.RecordChange{
				{A: record("n", 0), B: record("n", 0), Result: "new"},
				{A: record("o", 1), B: record("o", 1), Result: "gone"},
				{A: record("p", 2), B: record("p", 2), Result: "created-at"},
			}},
		},
		{
			about:   "a key with other inputs is another",
			a:       []string{"layer x", "n", "o", "p n = x @ 01"},
			b:       []string{"layer x", "n", "o", "p o = x @ 01"},
			records: buildcache.RecordDifference{Gone: []buildcache.RecordAt{record("p", 2)}, New: []buildcache.RecordAt{record("p", 2)}},
		},
	} {
		t.Run(test.about, func(t *testing.T) {
			a, b := tiny(t, test.a...), tiny(t, test.b...)
			d := diff(t, a, b)
			l, r := &test.layers, &test.records // lists are never null
			l.Gone, l.New, l.Recompressed, l.Moved = orEmpty(l.Gone), orEmpty(l.New), orEmpty(l.Recompressed), orEmpty(l.Moved)
			r.Gone, r.New, r.Changed = orEmpty(r.Gone), orEmpty(r.New), orEmpty(r.Changed)
			slices.SortFunc(test.records.Changed, func(x, y buildcache.RecordChange) int {
				return slices.Compare([]byte(x.A.Digest), []byte(y.A.Digest))
			})
			if got, want := marshal(t, d.Layers), marshal(t, test.layers); got != want {
				t.Errorf("layers: got %s\nwant %s", got, want)
			}
			if got, want := marshal(t, d.Records), marshal(t, test.records); got != want {
				t.Errorf("records: got %s\nwant %s", got, want)
			}
			config = b.Root.Config.Size
			if want := (buildcache.Transfer{Blobs: test.toA + 1, Bytes: int64(test.toA)*10 + config}); a.Root.Config.Digest != b.Root.Config.Digest && d.ToA != want {
				t.Errorf("to A: %+v, want %+v", d.ToA, want)
			}
			config = a.Root.Config.Size
			if want := (buildcache.Transfer{Blobs: test.toB + 1, Bytes: int64(test.toB)*10 + config}); a.Root.Config.Digest != b.Root.Config.Digest && d.ToB != want {
				t.Errorf("to B: %+v, want %+v", d.ToB, want)
			}
			if d.Same() != (test.about == "the same in another order") {
				t.Error("Same says", d.Same())
			}
		})
	}
}

// TestDiffRandom compares caches one way, the other way, and with themselves.
func TestDiffRandom(t *testing.T) {
	for seed := range uint64(quicktest.Rounds(80, 300)) {
		w := newWorld(seed)
		w.keys = 20
		a, b := w.cache(t, 8, 8), w.cache(t, 8, 8)
		ab, ba := diff(t, a, b), diff(t, b, a)
		if len(ab.Layers.New) != len(ba.Layers.Gone) || len(ab.Layers.Moved) != len(ba.Layers.Moved) || ab.ToA != ba.ToB ||
			len(ab.Layers.Recompressed) != len(ba.Layers.Recompressed) || len(ab.Records.Changed) != len(ba.Records.Changed) ||
			!slices.EqualFunc(ab.Records.New, ba.Records.Gone, func(x, y buildcache.RecordAt) bool { return x == y }) {
			t.Fatalf("seed %d:\n%+v\n%+v", seed, ab, ba)
		}
		if marshal(t, ab) != marshal(t, diff(t, a, b)) {
			t.Fatalf("seed %d: another time it is another", seed)
		}
		if self := diff(t, a, reread(t, a)); !self.Same() || self.ToA != (buildcache.Transfer{}) {
			t.Fatalf("seed %d: %+v", seed, self)
		}
		// What Merge promises, said by Diff: all records of both are in it.
		merged, err := buildcache.Merge([]buildcache.Cache{a, b}, buildcache.MergeOptions{})
		if errors.Is(err, buildcache.ErrNoResults) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if merged.Cut > 0 {
			continue
		}
		if d := diff(t, a, merged.Cache); len(d.Records.Gone) > 0 || len(d.Records.New) != len(ab.Records.New) {
			t.Fatalf("seed %d: %+v", seed, d.Records)
		}
		for _, change := range diff(t, a, merged.Cache).Records.Changed {
			if change.Result == buildcache.ResultGone {
				t.Fatalf("seed %d: %+v", seed, change)
			}
		}
	}
}

// TestDiffCorpus compares real caches: all forms of one are the same, and other compressions nothing but recompressed.
func TestDiffCorpus(t *testing.T) {
	caches := map[string]buildcache.Cache{}
	for name, c := range corpusCaches(t) {
		caches[name[:slices.Index([]byte(name), '/')]] = c
	}
	gzip := caches["artifact-gzip"]
	if d := diff(t, gzip, caches["docker-list-gzip"]); !d.Same() || d.ToA.Blobs+d.ToB.Blobs != 0 {
		t.Errorf("%+v", d)
	}
	for _, name := range []string{"artifact-zstd", "artifact-uncompressed"} {
		d := diff(t, gzip, caches[name])
		if len(d.Layers.Recompressed) == 0 || len(d.Layers.New)+len(d.Layers.Gone)+len(d.Layers.Moved) > 0 || len(d.Records.New)+len(d.Records.Gone) > 0 {
			t.Errorf("%s: %+v", name, d.Layers)
		}
		for _, change := range d.Records.Changed {
			if change.Result != buildcache.ResultRecompressed && change.Result != buildcache.ResultCreatedAt {
				t.Errorf("%s: %+v", name, change)
			}
		}
	}
	// The same build on another day: the same records, other bytes.
	d := diff(t, gzip, caches["artifact-gzip-level9"])
	contents := 0
	for _, change := range d.Records.Changed {
		if change.Result == buildcache.ResultContent {
			contents++
		}
	}
	if len(d.Records.New)+len(d.Records.Gone) > 0 || contents != 14 || len(d.Layers.New) == 0 {
		t.Errorf("%d of other content, %+v", contents, d.Records)
	}
}

func TestDiffRefuses(t *testing.T) {
	good, bad := tiny(t, "layer x", "r = x @ 01"), tiny(t, "layer x", "r = x @ 01")
	bad.Config.Layers[0].Parent = 0
	var refused *buildcache.RefusedError
	if _, err := buildcache.Diff(good, bad); !errors.As(err, &refused) || refused.Cache != 1 {
		t.Error(err)
	}
}

func orEmpty[T any](list []T) []T { return append([]T{}, list...) }
