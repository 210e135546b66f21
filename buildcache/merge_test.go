package buildcache_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/quicktest"
)

func merge(t testing.TB, caches ...buildcache.Cache) *buildcache.Merged {
	t.Helper()
	merged, err := buildcache.Merge(caches, buildcache.MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return merged
}

// bytesOf returns all bytes of a cache, which is what promises about bytes are about.
func bytesOf(t testing.TB, c buildcache.Cache) string {
	t.Helper()
	return marshal(t, c.Root) + "\n" + marshal(t, c.Config)
}

// mergeOrNothing merges random caches, which may have no results.
func mergeOrNothing(t *testing.T, caches ...buildcache.Cache) (buildcache.Cache, bool) {
	t.Helper()
	merged, err := buildcache.Merge(caches, buildcache.MergeOptions{})
	if errors.Is(err, buildcache.ErrNoResults) {
		return buildcache.Cache{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return reread(t, merged.Cache), true
}

func TestMergeRandom(t *testing.T) {
	folded, superseded, cut, n := 0, 0, 0, 0
	seeds := quicktest.Rounds(80, 250)
	for seed := range uint64(seeds) {
		w := newWorld(seed)
		w.unequal = seed%2 == 1
		if seed%3 > 0 {
			w.keys = 40
		}
		a, b, c := w.cache(t, 6, 8), w.cache(t, 6, 8), w.cache(t, 6, 8)
		all, ok := mergeOrNothing(t, a, b, c)
		if !ok {
			continue
		}
		n++
		if problems := errorsOf(t, all); len(problems) > 0 {
			t.Fatalf("seed %d: %+v", seed, problems)
		}
		m := merge(t, a, b, c)
		if m.Cut == 0 {
			sameModel(t, modelOf(all), modelOf(a, b, c))
		} else {
			cut++
		}
		want := bytesOf(t, all)
		for _, order := range [][]buildcache.Cache{{c, a, b}, {b, a, c}, {c, b, a, b, c}} {
			if got, _ := mergeOrNothing(t, order...); bytesOf(t, got) != want {
				t.Fatalf("seed %d: the order matters:\n%s\n%s", seed, bytesOf(t, got), want)
			}
		}
		if again, _ := mergeOrNothing(t, all, all); bytesOf(t, again) != want {
			t.Fatalf("seed %d: merging again changes\n%s\nto\n%s", seed, want, bytesOf(t, again))
		}
		if ab, ok := mergeOrNothing(t, a, b); ok && !w.unequal && m.Cut == 0 {
			if steps, _ := mergeOrNothing(t, ab, c); bytesOf(t, steps) != want {
				t.Fatalf("seed %d: in steps it is\n%s\nand at once\n%s", seed, bytesOf(t, steps), want)
			}
		}
		superseded += m.Superseded
		folded += len(a.Config.Records) + len(b.Config.Records) + len(c.Config.Records) - len(all.Config.Records) - m.Dropped.Records
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d merges: %d records folded, %d results superseded, %d with circles", n, folded, superseded, cut)
	if n < seeds*4/5 || folded < n || superseded < n || cut < max(1, seeds/125) {
		t.Error("the mixture says little")
	}
}

// TestMergeCorpus merges real caches, in pairs and all together.
func TestMergeCorpus(t *testing.T) {
	caches := corpusCaches(t)
	names := sortedKeys(caches)
	var all []buildcache.Cache
	for i, name := range names {
		a, b := caches[name], caches[names[(i+5)%len(names)]]
		all = append(all, a)
		alone, pair := merge(t, a), merge(t, a, b)
		for _, m := range []*buildcache.Merged{alone, pair} {
			if problems := errorsOf(t, m.Cache); len(problems) > 0 {
				t.Errorf("%s: %+v", name, problems)
			}
			if m.Dropped != (buildcache.Dropped{}) || m.Cut > 0 {
				t.Errorf("%s: dropped %+v of what BuildKit wrote, and cut %d", name, m.Dropped, m.Cut)
			}
		}
		sameModel(t, modelOf(alone.Cache), modelOf(a))
		sameModel(t, modelOf(pair.Cache), modelOf(a, b))
		if len(alone.Config.Records) != len(a.Config.Records) || len(alone.Config.Layers) != len(a.Config.Layers) || alone.Superseded != 0 {
			t.Errorf("%s: alone it shrinks from %d records and %d layers to %d and %d", name,
				len(a.Config.Records), len(a.Config.Layers), len(alone.Config.Records), len(alone.Config.Layers))
		}
	}
	merged := merge(t, all...)
	sameModel(t, modelOf(merged.Cache), modelOf(all...))
	if merged.Cut > 0 {
		t.Errorf("%d alternatives cut", merged.Cut)
	}
	slices.Reverse(all)
	if bytesOf(t, merge(t, all...).Cache) != bytesOf(t, merged.Cache) {
		t.Error("the order of the caches matters")
	}
	t.Logf("%d caches: %d layers, %d records, %d results superseded, config of %d bytes", len(all),
		len(merged.Config.Layers), len(merged.Config.Records), merged.Superseded, merged.Root.Config.Size)
}

// TestMergeSizes holds what is folded against what was measured with BuildKit: 16+10 layers and 23+15 records of two
// builds that share their daemon become 21 and 30.
func TestMergeSizes(t *testing.T) {
	caches := corpusCaches(t)
	find := func(prefix string) buildcache.Cache {
		for name, c := range caches {
			if strings.HasPrefix(name, prefix) {
				return c
			}
		}
		t.Fatal(prefix)
		return buildcache.Cache{}
	}
	for _, test := range []struct {
		a, b            string
		layers, records int
	}{
		{"artifact-gzip/", "merge-small2-fresh/", 25, 30},
		{"artifact-gzip/", "artifact-gzip-level9/", 16, 23},
		{"docker-list-gzip/", "artifact-gzip/", 16, 23},
	} {
		m := merge(t, find(test.a), find(test.b))
		if len(m.Config.Layers) != test.layers || len(m.Config.Records) != test.records {
			t.Errorf("%s and %s: %d layers, %d records, want %d and %d", test.a, test.b,
				len(m.Config.Layers), len(m.Config.Records), test.layers, test.records)
		}
	}
}

// tiny makes a cache of one line for each layer ("name", or "name on name") and one for each record: its name, the
// names of records that it depends on, and what comes of it: "= layer @ seconds".
func tiny(t testing.TB, lines ...string) buildcache.Cache {
	t.Helper()
	root, config := &buildcache.Root{Form: buildcache.Artifact, MediaType: buildcache.MediaTypeOCIManifest}, &buildcache.Config{}
	layers, records := map[string]int{}, map[string]int{}
	for _, line := range lines {
		words := strings.Fields(line)
		if words[0] == "layer" {
			layer := buildcache.Layer{Blob: sum(words[1]), Parent: buildcache.NoParent}
			if len(words) > 2 {
				layer.Parent = layers[words[3]]
			}
			layers[words[1]] = len(config.Layers)
			config.Layers = append(config.Layers, layer)
			root.Layers = append(root.Layers, buildcache.Descriptor{
				MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: layer.Blob, Size: 10,
				Annotations: map[string]string{buildcache.AnnotationDiffID: sum("content of " + strings.TrimRight(words[1], "'")).String()},
			})
			continue
		}
		record := buildcache.Record{Digest: sum(strings.TrimRight(words[0], "'"))}
		rest := words[1:]
		for len(rest) > 0 && rest[0] != "=" {
			var slot []buildcache.Input
			for _, name := range strings.Split(rest[0], "|") {
				slot = append(slot, buildcache.Input{Link: records[name]})
			}
			record.Inputs = append(record.Inputs, slot)
			rest = rest[1:]
		}
		for len(rest) > 3 {
			var at buildcache.Time
			if err := at.UnmarshalJSON([]byte(fmt.Sprintf(`"2026-01-01T00:00:%sZ"`, rest[3]))); err != nil {
				t.Fatal(err)
			}
			record.Results = append(record.Results, buildcache.Result{Layer: layers[rest[1]], CreatedAt: at})
			rest = rest[4:]
		}
		records[words[0]] = len(config.Records)
		config.Records = append(config.Records, record)
	}
	root.Config.MediaType = buildcache.MediaTypeConfig
	root.SetConfig([]byte(marshal(t, config)))
	return buildcache.Cache{Root: root, Config: config}
}

// lower returns the names in the order of their digests.
func lower(names ...string) []string {
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(sum(a).String(), sum(b).String()) })
	return names
}

func TestMergeConflicts(t *testing.T) {
	xy := lower("x", "y")
	for _, test := range []struct {
		about      string
		a, b, want []string
		superseded int
	}{
		{"the newest result stays", []string{"layer x", "r = x @ 01"}, []string{"layer y", "r = y @ 02"}, []string{"layer y", "r = y @ 02"}, 1},
		{
			"of one age, that with the lower topmost layer",
			[]string{"layer " + xy[1], "r = " + xy[1] + " @ 01"},
			[]string{"layer " + xy[0], "r = " + xy[0] + " @ 01"},
			[]string{"layer " + xy[0], "r = " + xy[0] + " @ 01"},
			1,
		},
		{"the same blobs at another time", []string{"layer x", "r = x @ 01"}, []string{"layer x", "r = x @ 02"}, []string{"layer x", "r = x @ 02"}, 1},
		{
			"a result is a whole chain",
			[]string{"layer base", "layer x on base", "r = x @ 01"},
			[]string{"layer base'", "layer x on base'", "r = x @ 02"},
			[]string{"layer base'", "layer x on base'", "r = x @ 02"},
			1,
		},
		{
			"records with other inputs are others",
			[]string{"layer x", "p", "r p = x @ 01"},
			[]string{"layer y", "q", "r q = y @ 02"},
			[]string{"layer x", "layer y", "p", "q", "r p = x @ 01", "r' q = y @ 02"},
			0,
		},
		{
			"inputs are compared all the way down",
			[]string{"layer x", "p", "q p", "r q = x @ 01"},
			[]string{"layer y", "q", "r q = y @ 02"},
			[]string{"layer x", "layer y", "p", "q p", "r q = x @ 01", "q'", "r' q' = y @ 02"},
			0,
		},
		{
			"alternatives are compared as a set",
			[]string{"layer x", "p", "q", "r p|q = x @ 01"},
			[]string{"layer y", "q", "p", "r q|p|q = y @ 02"},
			[]string{"layer y", "p", "q", "r p|q = y @ 02"},
			1,
		},
		{
			"the order of inputs counts",
			[]string{"layer x", "p", "q", "r p q = x @ 01"},
			[]string{"layer y", "p", "q", "r q p = y @ 02"},
			[]string{"layer x", "layer y", "p", "q", "r p q = x @ 01", "r' q p = y @ 02"},
			0,
		},
		{
			"inputs that only overlap are not folded",
			[]string{"layer x", "p", "r p = x @ 01"},
			[]string{"layer y", "p", "q", "r p|q = y @ 02"},
			[]string{"layer x", "layer y", "p", "q", "r p = x @ 01", "r' p|q = y @ 02"},
			0,
		},
		{"a record without a result gets one", []string{"layer x", "r", "s = x @ 01"}, []string{"layer x", "r = x @ 01"}, []string{"layer x", "r = x @ 01", "s = x @ 01"}, 0},
		{"several results of one record", []string{"layer x", "layer y", "r = x @ 01 = y @ 02"}, []string{"layer x", "r = x @ 01"}, []string{"layer y", "r = y @ 02"}, 1},
	} {
		t.Run(test.about, func(t *testing.T) {
			want := merge(t, tiny(t, test.want...))
			m := merge(t, tiny(t, test.a...), tiny(t, test.b...))
			if bytesOf(t, m.Cache) != bytesOf(t, want.Cache) {
				t.Errorf("got  %s\nwant %s", bytesOf(t, m.Cache), bytesOf(t, want.Cache))
			}
			if m.Superseded != test.superseded {
				t.Errorf("%d superseded, want %d", m.Superseded, test.superseded)
			}
		})
	}
}

// TestMergeCircles has records that BuildKit would unite though they depend on each other.
func TestMergeCircles(t *testing.T) {
	for _, test := range []struct {
		about      string
		a, b, want []string
		cut        int
	}{
		{
			"the alternative that closes the circle is cut where there is another",
			[]string{"layer x", "a", "b", "t a = x @ 01", "t' t|b = x @ 02", "u t' = x @ 03"},
			[]string{"layer x", "a", "b", "t a|b = x @ 04"},
			[]string{"layer x", "a", "b", "t a = x @ 01", "t' b = x @ 02", "t'' a|b = x @ 04", "u t' = x @ 03"},
			1,
		},
		{
			"several circles",
			[]string{"layer x", "a", "t a = x @ 01", "p t", "t' a|p = x @ 02"},
			[]string{"layer x", "a", "t a = x @ 03", "p t", "q p", "p' q|t", "u q = x @ 05"},
			[]string{"layer x", "a", "t a = x @ 03", "p t", "q p", "u q = x @ 05"},
			2,
		},
		{
			"a step that stands twice in a row is no circle",
			[]string{"layer x", "a", "t a = x @ 01", "t' t = x @ 02"},
			[]string{"layer x", "b", "t b = x @ 03", "t' t = x @ 04"},
			[]string{"layer x", "a", "b", "t a = x @ 01", "t' t = x @ 02", "t'' b = x @ 03", "t''' t'' = x @ 04"},
			0,
		},
	} {
		t.Run(test.about, func(t *testing.T) {
			m, want := merge(t, tiny(t, test.a...), tiny(t, test.b...)), merge(t, tiny(t, test.want...))
			if bytesOf(t, m.Cache) != bytesOf(t, want.Cache) {
				t.Errorf("got  %s\nwant %s", bytesOf(t, m.Cache), bytesOf(t, want.Cache))
			}
			if m.Cut != test.cut || m.Dropped != (buildcache.Dropped{}) {
				t.Errorf("cut %d, dropped %+v", m.Cut, m.Dropped)
			}
		})
	}
}

// TestMergeBlobs says that x' is x, packed anew.
func TestMergeBlobs(t *testing.T) {
	a := tiny(t, "layer base", "layer x on base", "r = x @ 01")
	b := tiny(t, "layer base'", "layer x on base'", "layer y on x", "r = x @ 02", "s r = y @ 02")
	packed := func(name, old string) buildcache.Blob {
		return buildcache.Blob{Digest: sum(name), Size: 10, Compression: buildcache.Gzip, DiffID: sum("content of " + old)}
	}
	blobs := map[digest.Digest]buildcache.Blob{sum("base'"): packed("base", "base")}
	merged, err := buildcache.Merge([]buildcache.Cache{a, b}, buildcache.MergeOptions{Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	want := merge(t, tiny(t, "layer base", "layer x on base", "layer y on x", "r = x @ 02", "s r = y @ 02"))
	if bytesOf(t, merged.Cache) != bytesOf(t, want.Cache) {
		t.Errorf("got  %s\nwant %s", bytesOf(t, merged.Cache), bytesOf(t, want.Cache))
	}
	blobs[sum("base")] = packed("other", "base")
	if _, err := buildcache.Merge([]buildcache.Cache{a, b}, buildcache.MergeOptions{Blobs: blobs}); err == nil {
		t.Error("two steps were taken for one")
	}
}

func TestMergeUnknownMembers(t *testing.T) {
	with := func(note string) buildcache.Cache {
		c := tiny(t, "layer x", "p", "r p = x @ 01")
		member := buildcache.Extra{{Name: "note", Value: []byte(note)}, {Name: "my" + strings.Trim(note, `"`), Value: []byte("1 ")}}
		c.Root.Extra = append(slices.Clone(member), buildcache.Member{Name: "artifactType", Value: []byte(`"t"`)})
		c.Config.Extra, c.Config.Layers[0].Extra, c.Root.Layers[0].Extra = member, member, member
		r := &c.Config.Records[1]
		r.Extra, r.Results[0].Extra, r.Inputs[0][0].Extra = member, member, member
		c.Root.Layers[0].Annotations["note"] = note
		return c
	}
	m := merge(t, with(`"a"`), with(`"b"`))
	raw := marshal(t, m.Config)
	if got := strings.Count(raw, `"mya":1,"myb":1,"note":"b"`); got != 5 {
		t.Errorf("members are united in %d of 5 places: %s", got, raw)
	}
	root := marshal(t, m.Root)
	if strings.Count(root, `"mya":1,"myb":1,"note":"b"`) != 1 || !strings.HasSuffix(root, `],"artifactType":"t"}`) {
		t.Errorf("root: %s", root)
	}
	if m.Root.Layers[0].Annotations["note"] != `"b"` {
		t.Errorf("annotations: %v", m.Root.Layers[0].Annotations)
	}
}

func TestMergeConflictingDescriptors(t *testing.T) {
	for name, change := range map[string]func(*buildcache.Descriptor){
		"size":        func(d *buildcache.Descriptor) { d.Size++ },
		"compression": func(d *buildcache.Descriptor) { d.MediaType = "application/vnd.oci.image.layer.v1.tar+zstd" },
		"diffID":      func(d *buildcache.Descriptor) { d.Annotations[buildcache.AnnotationDiffID] = sum("z").String() },
		"table of contents": func(d *buildcache.Descriptor) {
			d.Annotations[buildcache.AnnotationTOCDigest] = sum("y").String()
		},
	} {
		a, b := tiny(t, "layer x", "r = x @ 01"), tiny(t, "layer x", "s = x @ 01")
		a.Root.Layers[0].Annotations[buildcache.AnnotationTOCDigest] = sum("x").String()
		change(&b.Root.Layers[0])
		var conflict *buildcache.ConflictError
		if _, err := buildcache.Merge([]buildcache.Cache{a, b}, buildcache.MergeOptions{}); !errors.As(err, &conflict) || conflict.A.Digest != sum("x") {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, b := tiny(t, "layer x", "r = x @ 01"), tiny(t, "layer x", "s = x @ 01")
	a.Root.Layers[0].MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	a.Root.Layers[0].URLs = []string{"https://b", "https://a"}
	b.Root.Layers[0].Annotations[buildcache.AnnotationCreatedAt] = "2026-01-01T00:00:00Z"
	d := merge(t, a, b).Root.Layers[0]
	if d.MediaType != "application/vnd.oci.image.layer.v1.tar+gzip" || len(d.URLs) != 2 || d.URLs[0] != "https://a" || len(d.Annotations) != 2 {
		t.Errorf("united: %+v", d)
	}
}

func TestMergeRefuses(t *testing.T) {
	good := tiny(t, "layer x", "r = x @ 01")
	for kind, change := range map[buildcache.Kind]func(buildcache.Cache){
		buildcache.LayerLoop:         func(c buildcache.Cache) { c.Config.Layers[0].Parent = 0 },
		buildcache.LayerIndexRange:   func(c buildcache.Cache) { c.Config.Layers[0].Parent = 7 },
		buildcache.RecordLoop:        func(c buildcache.Cache) { c.Config.Records[0].Inputs = [][]buildcache.Input{{{Link: 0}}} },
		buildcache.RecordLinkRange:   func(c buildcache.Cache) { c.Config.Records[0].Inputs = [][]buildcache.Input{{{Link: 1}}} },
		buildcache.RecordEmptyInput:  func(c buildcache.Cache) { c.Config.Records[0].Inputs = [][]buildcache.Input{{}} },
		buildcache.LayerNoDiffID:     func(c buildcache.Cache) { c.Root.Layers[0].Annotations = nil },
		buildcache.BlobSize:          func(c buildcache.Cache) { c.Root.Layers[0].Size = 0 },
		buildcache.LayerMediaTypeBad: func(c buildcache.Cache) { c.Root.Layers[0].MediaType = "text/plain" },
	} {
		bad := tiny(t, "layer x", "r = x @ 01")
		change(bad)
		_, err := buildcache.Merge([]buildcache.Cache{good, bad}, buildcache.MergeOptions{})
		var refused *buildcache.RefusedError
		if !errors.As(err, &refused) || refused.Cache != 1 || refused.Problems[0].Kind != kind {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, caches := range [][]buildcache.Cache{nil, {tiny(t, "r")}} {
		if _, err := buildcache.Merge(caches, buildcache.MergeOptions{}); !errors.Is(err, buildcache.ErrNoResults) {
			t.Errorf("%d caches: %v", len(caches), err)
		}
	}
}

// TestMergeTooLarge makes caches that each fit and together do not, by records and by layers.
func TestMergeTooLarge(t *testing.T) {
	for what, perRecord := range map[string]int{"cache config": 40, "root": 1} {
		var caches []buildcache.Cache
		for i := range 4 {
			c := tiny(t, "layer x", "r = x @ 01")
			for j := range 1900 {
				name := fmt.Sprint(i, j/perRecord)
				c.Config.Layers = append(c.Config.Layers, buildcache.Layer{Blob: sum(name), Parent: buildcache.NoParent})
				d := c.Root.Layers[0].Clone()
				d.Digest = sum(name)
				c.Root.Layers = append(c.Root.Layers, d)
				record := buildcache.Record{Digest: sum(fmt.Sprint(i, j)), Results: []buildcache.Result{{Layer: len(c.Config.Layers) - 1}}}
				c.Config.Records = append(c.Config.Records, record)
			}
			caches = append(caches, c)
		}
		if what == "root" {
			for i := range caches {
				for j := range caches[i].Root.Layers {
					caches[i].Root.Layers[j].Annotations["org.example.comment"] = strings.Repeat("long ", 20)
				}
				caches[i].Config.Records = caches[i].Config.Records[:900]
			}
		}
		m, err := buildcache.Merge(caches, buildcache.MergeOptions{})
		var tooLarge *buildcache.SizeError
		if !errors.As(err, &tooLarge) || tooLarge.What != what || tooLarge.Limit != 1<<20 || m == nil {
			t.Fatalf("%s: %v", what, err)
		}
		if size := map[string]int{"cache config": len(marshal(t, m.Config)), "root": len(marshal(t, m.Root))}[what]; tooLarge.Size != int64(size) {
			t.Errorf("%s: says %d bytes and has %d", what, tooLarge.Size, size)
		}
		pruned, err := buildcache.Prune(m.Cache, buildcache.PruneRules{Fit: true})
		if err != nil {
			t.Fatal(err)
		}
		if problems := errorsOf(t, pruned.Cache); len(problems) > 0 || pruned.Kept.Results == 0 {
			t.Errorf("%s: pruned to %+v: %v", what, pruned.Kept, problems)
		}
		if size := max(len(marshal(t, pruned.Config)), len(marshal(t, pruned.Root))); size < 1<<20-1000 {
			t.Errorf("%s: pruned to %d bytes, more than needed", what, size)
		}
	}
}

// TestMergeDeep has chains and links of a depth that no recursion would survive.
func TestMergeDeep(t *testing.T) {
	deep := deepCache(t, 10_000)
	merged, err := buildcache.Merge([]buildcache.Cache{deep, deep}, buildcache.MergeOptions{})
	var tooLarge *buildcache.SizeError
	if !errors.As(err, &tooLarge) {
		t.Fatal(err)
	}
	if len(merged.Config.Records) != len(deep.Config.Records) || len(merged.Config.Layers) != len(deep.Config.Layers) {
		t.Errorf("%d records, %d layers", len(merged.Config.Records), len(merged.Config.Layers))
	}
	if _, err := buildcache.Prune(deep, buildcache.PruneRules{MaxRecords: 10, Leaves: true}); err != nil {
		t.Error(err)
	}
	if d, err := buildcache.Diff(deep, deep); err != nil || !d.Same() {
		t.Error("a cache differs from itself", err)
	}
}

func deepCache(tb testing.TB, n int) buildcache.Cache {
	c := tiny(tb, "layer x", "r = x @ 01")
	for i := range n {
		c.Config.Layers = append(c.Config.Layers, buildcache.Layer{Blob: c.Config.Layers[0].Blob, Parent: i})
		c.Config.Records = append(c.Config.Records, buildcache.Record{
			Digest: c.Config.Records[0].Digest, Inputs: [][]buildcache.Input{{{Link: i}}}, Results: []buildcache.Result{{Layer: i + 1}},
		})
	}
	slices.Reverse(c.Config.Records)
	for i := range c.Config.Records {
		for _, slot := range c.Config.Records[i].Inputs {
			slot[0].Link = n - slot[0].Link
		}
	}
	return c
}

// TestMergeKeepsTimes sees to it that createdAt is copied as text.
func TestMergeKeepsTimes(t *testing.T) {
	c := tiny(t, "layer x", "r = x @ 01")
	odd := `"2026-01-01T00:00:01.500+01:00"`
	if err := json.Unmarshal([]byte(odd), &c.Config.Records[0].Results[0].CreatedAt); err != nil {
		t.Fatal(err)
	}
	if raw := marshal(t, merge(t, c).Config); !strings.Contains(raw, odd) {
		t.Error(raw)
	}
}

func FuzzMerge(f *testing.F) {
	add := func(a, b buildcache.Cache) {
		f.Add([]byte(marshal(f, a.Root)), []byte(marshal(f, a.Config)), []byte(marshal(f, b.Root)), []byte(marshal(f, b.Config)))
	}
	for seed := range uint64(20) {
		w := newWorld(seed)
		w.unequal = true
		add(w.cache(f, 4, 5), w.cache(f, 4, 5))
	}
	add(tiny(f, "layer x", "a", "b", "t a = x @ 01", "t' t|b = x @ 02", "u t' = x @ 03"), tiny(f, "layer x", "a", "b", "t a|b = x @ 04"))
	small := tiny(f, "layer x", "r = x @ 01")
	for _, d := range readDamaged(f) {
		if len(d.RootText)+len(d.ConfigText) <= maxSeed {
			f.Add([]byte(d.RootText), []byte(d.ConfigText), []byte(marshal(f, small.Root)), []byte(marshal(f, small.Config)))
		}
	}
	f.Fuzz(func(t *testing.T, rootA, configA, rootB, configB []byte) {
		a, okA := fuzzCache(rootA, configA)
		b, okB := fuzzCache(rootB, configB)
		if !okA || !okB {
			return
		}
		before := bytesOf(t, a) + bytesOf(t, b)
		merged, err := buildcache.Merge([]buildcache.Cache{a, b}, buildcache.MergeOptions{})
		other, otherErr := buildcache.Merge([]buildcache.Cache{b, a}, buildcache.MergeOptions{})
		if (err == nil) != (otherErr == nil) {
			t.Fatalf("one way: %v\nthe other: %v", err, otherErr)
		}
		if _, err := buildcache.Diff(a, b); err == nil {
			fuzzPrune(t, a)
		}
		if after := bytesOf(t, a) + bytesOf(t, b); after != before {
			t.Errorf("what it came from changed from %s\nto %s", before, after)
		}
		if err != nil {
			return
		}
		want := bytesOf(t, merged.Cache)
		if got := bytesOf(t, other.Cache); got != want {
			t.Errorf("one way: %s\nthe other: %s", want, got)
		}
		if problems := errorsOf(t, merged.Cache); len(problems) > 0 {
			t.Errorf("%+v", problems)
		}
		if again := merge(t, reread(t, merged.Cache), merged.Cache); bytesOf(t, again.Cache) != want {
			t.Errorf("merged: %s\nand again: %s", want, bytesOf(t, again.Cache))
		}
	})
}

func fuzzCache(root, config []byte) (buildcache.Cache, bool) {
	if len(root) > maxInput || len(config) > maxInput {
		return buildcache.Cache{}, false
	}
	r, err := buildcache.ParseRoot(root)
	if err != nil {
		return buildcache.Cache{}, false
	}
	c, err := buildcache.ParseConfig(config)
	return buildcache.Cache{Root: r, Config: c}, err == nil
}

// TestMergeManyMembers has one record and one layer very often, each time with another unknown member.
func TestMergeManyMembers(t *testing.T) {
	c := tiny(t, "layer x", "r = x @ 01")
	const n = 20_000
	for i := range n {
		extra := buildcache.Extra{{Name: fmt.Sprint("m", i), Value: []byte("1")}}
		layer, record := c.Config.Layers[0], c.Config.Records[0]
		layer.Extra, record.Extra = extra, extra
		record.Results = []buildcache.Result{{Layer: i + 1, CreatedAt: record.Results[0].CreatedAt, Extra: extra}}
		c.Config.Layers, c.Config.Records = append(c.Config.Layers, layer), append(c.Config.Records, record)
	}
	m, err := buildcache.Merge([]buildcache.Cache{c}, buildcache.MergeOptions{})
	var tooLarge *buildcache.SizeError
	if err != nil && !errors.As(err, &tooLarge) {
		t.Fatal(err)
	}
	if len(m.Config.Layers) != 1 || len(m.Config.Records) != 1 || len(m.Config.Records[0].Extra) != n ||
		len(m.Config.Layers[0].Extra) != n || len(m.Config.Records[0].Results[0].Extra) != n {
		t.Errorf("%d layers, %d records", len(m.Config.Layers), len(m.Config.Records))
	}
}
