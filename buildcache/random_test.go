package buildcache_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// world is what random caches are made of. They share records, contents and times, so that they meet in many ways.
type world struct {
	*rand.Rand
	contents, keys, times int
	unequal               bool // caches describe one layer in several ways, where they may
	chains                bool
}

func newWorld(seed uint64) *world {
	return &world{Rand: rand.New(rand.NewPCG(seed, seed)), contents: 6, keys: 5, times: 4, chains: true}
}

func (w *world) seldom(one int) bool { return w.IntN(one) == 0 }

// time is one of a few, in one of two spellings.
func (w *world) time(t testing.TB) buildcache.Time {
	at := time.Unix(1e9+int64(w.IntN(w.times)), 0).UTC()
	if w.seldom(8) {
		at = time.Time{}
	}
	text := at.Format(time.RFC3339)
	if w.seldom(4) {
		text = at.In(time.FixedZone("", 3600)).Format(time.RFC3339)
	}
	var parsed buildcache.Time
	if err := parsed.UnmarshalJSON([]byte(`"` + text + `"`)); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func (w *world) extra() buildcache.Extra {
	if !w.seldom(6) {
		return nil
	}
	var extra buildcache.Extra
	for _, name := range []string{"note", "a<b"}[w.IntN(2):] {
		extra = append(extra, buildcache.Member{Name: name, Value: []byte(fmt.Sprintf(`[%d, "<"]`, w.IntN(3)))})
	}
	return extra
}

// blob is one of two blobs of one of a few contents.
func (w *world) blob() (digest.Digest, buildcache.Descriptor) {
	content := w.IntN(w.contents)
	packed := []string{"gzip", "zstd"}[w.IntN(2)]
	d := buildcache.Descriptor{
		MediaType: "application/vnd.oci.image.layer.v1.tar+" + packed,
		Digest:    sum(fmt.Sprint(packed, content)), Size: int64(10+content*7) + int64(len(packed))*int64(content%2),
		Annotations: map[string]string{buildcache.AnnotationDiffID: sum(fmt.Sprint(content)).String()},
	}
	if w.unequal {
		d.Annotations["note"] = fmt.Sprint(w.IntN(3))
		d.Extra = w.extra()
	}
	return d.Digest, d
}

// cache makes a sound cache, with at most so many layers and records.
func (w *world) cache(t testing.TB, maxLayers, maxRecords int) buildcache.Cache {
	root, config := &buildcache.Root{Form: buildcache.Artifact}, &buildcache.Config{Extra: w.extra()}
	listed := map[digest.Digest]bool{}
	layers := 1 + w.IntN(maxLayers)
	for i := range layers {
		blob, descriptor := w.blob()
		layer := buildcache.Layer{Blob: blob, Parent: w.IntN(i+1) - 1}
		if w.unequal {
			layer.Extra = w.extra()
		}
		config.Layers = append(config.Layers, layer)
		if !listed[blob] && !w.seldom(12) { // some stay unlisted
			root.Layers = append(root.Layers, descriptor)
			listed[blob] = true
		}
	}
	for i := range 1 + w.IntN(maxRecords) {
		config.Records = append(config.Records, w.record(t, i, layers))
	}
	root.Config.MediaType = buildcache.MediaTypeConfig
	root.SetConfig([]byte(marshal(t, config)))
	return buildcache.Cache{Root: root, Config: config}
}

func (w *world) record(t testing.TB, i, layers int) buildcache.Record {
	record := buildcache.Record{Digest: sum(fmt.Sprint("key", w.IntN(w.keys))), Extra: w.extra()}
	if w.seldom(20) {
		record.Digest = "sha256:no"
	}
	for range w.IntN(3) {
		record.Results = append(record.Results, buildcache.Result{Layer: w.IntN(layers), CreatedAt: w.time(t), Extra: w.extra()})
	}
	for w.chains && w.seldom(4) {
		chain := buildcache.Chain{Layers: []int{}, CreatedAt: w.time(t), Extra: w.extra()}
		for range w.IntN(4) {
			chain.Layers = append(chain.Layers, w.IntN(layers))
		}
		record.Chains = append(record.Chains, chain)
	}
	if i == 0 {
		return record
	}
	for range w.IntN(3) {
		var slot []buildcache.Input
		for range 1 + w.IntN(2) {
			input := buildcache.Input{Link: w.IntN(i), Extra: w.extra()}
			if w.seldom(3) {
				input.Selector = "sha256:s"
			}
			slot = append(slot, input)
		}
		record.Inputs = append(record.Inputs, slot)
	}
	return record
}

// reread returns the cache as it is after it was written and read.
func reread(t testing.TB, c buildcache.Cache) buildcache.Cache {
	t.Helper()
	return buildcache.Cache{Root: parseRoot(t, []byte(marshal(t, c.Root))), Config: parseConfig(t, []byte(marshal(t, c.Config)))}
}

// corpusCaches returns the caches of the corpus by name.
func corpusCaches(tb testing.TB) map[string]buildcache.Cache {
	tb.Helper()
	caches := map[string]buildcache.Cache{}
	for _, export := range corpusExports(tb) {
		caches[export.Name] = buildcache.Cache{Root: parseRoot(tb, export.Root), Config: parseConfig(tb, export.Config)}
	}
	return caches
}
