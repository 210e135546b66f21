package buildcache_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/quicktest"
)

// damaged is a file of testdata/damaged: a root and a config, what BuildKit makes of the two, and what Validate must say.
// The module scripts/oracle asks BuildKit whether Imports and Results are true.
type damaged struct {
	About      string
	Root       json.RawMessage // or RootText, for what can't stand in JSON
	RootText   string
	RootSize   int64           // if another than that of Root
	Config     json.RawMessage // or ConfigText; neither where the root is no cache's
	ConfigText string
	Imports    bool // BuildKit accepts root and config
	Results    int  // so many results it has then
	Problems   []found
}

// found is what is fixed of a problem: all but the words.
type found struct {
	Kind   buildcache.Kind
	Effect buildcache.Effect
	Where  string
	Digest digest.Digest
}

func readDamaged(tb testing.TB) map[string]damaged {
	tb.Helper()
	paths, err := filepath.Glob("testdata/damaged/*.json")
	if err != nil || len(paths) == 0 {
		tb.Fatal("no damaged caches", err)
	}
	all := map[string]damaged{}
	for _, path := range paths {
		var d damaged
		if err := json.Unmarshal(readFile(tb, path), &d); err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		if d.Root != nil {
			d.RootText = string(d.Root)
		}
		if d.Config != nil {
			d.ConfigText = string(d.Config)
		}
		if d.RootSize == 0 {
			d.RootSize = int64(len(d.RootText))
		}
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = d
	}
	return all
}

// outside are the kinds that root and config alone can't show; inspect and the profiles of registries find those.
var outside = []buildcache.Kind{
	buildcache.RootMissing, buildcache.RootDamaged, buildcache.RootInvalid, buildcache.ConfigMissing, buildcache.ConfigDamaged,
	buildcache.ConfigInvalid, buildcache.LayerDiffID, buildcache.LayerMislabelled, buildcache.LayerUnreadable, buildcache.LayerTOC, buildcache.BlobMissing,
	buildcache.BlobDamaged, buildcache.IndexInvalid, buildcache.TagShadowed, buildcache.CacheInIndex, buildcache.Untagged, buildcache.Unreachable, buildcache.Leftover,
	buildcache.RegistryForm, buildcache.RegistryConfigType, buildcache.RegistryRootSize, buildcache.RegistryLayerSize,
	buildcache.KeysOutdated, buildcache.VolumeLost,
}

func TestValidate(t *testing.T) {
	t.Parallel()
	var unseen []buildcache.Kind
	for _, info := range buildcache.Kinds() {
		if !slices.Contains(outside, info.Kind) {
			unseen = append(unseen, info.Kind)
		}
	}
	for name, d := range readDamaged(t) {
		root, rootErr := buildcache.ParseRoot([]byte(d.RootText))
		if rootErr != nil {
			if d.Imports || d.ConfigText != "" {
				t.Errorf("%s: %s, but ParseRoot says: %v", name, d.About, rootErr)
			}
			continue
		}
		config, configErr := buildcache.ParseConfig([]byte(d.ConfigText))
		if configErr != nil {
			if d.Imports {
				t.Errorf("%s: %s, but ParseConfig says: %v", name, d.About, configErr)
			}
			continue
		}
		var got []found
		for _, p := range buildcache.Validate(root, d.RootSize, config) {
			got = append(got, found{p.Kind, p.Effect, p.Where, p.Digest})
			if p.Severity != p.Effect.Severity() || p.Detail == "" || p.Remedy != p.Kind.Info().Remedy || p.Cache != "" {
				t.Errorf("%s: %+v", name, p)
			}
			unseen = slices.DeleteFunc(unseen, func(k buildcache.Kind) bool { return k == p.Kind })
		}
		if len(got) != len(d.Problems) || len(got) > 0 && !reflect.DeepEqual(got, d.Problems) {
			t.Errorf("%s: %s\ngot  %v\nwant %v", name, d.About, got, d.Problems)
		}
	}
	if len(unseen) > 0 {
		t.Errorf("no damaged cache shows %v", unseen)
	}
}

// TestValidateCorpus checks that nothing is wrong with what BuildKit exports.
func TestValidateCorpus(t *testing.T) {
	t.Parallel()
	for _, export := range corpusExports(t) {
		root, config := parseRoot(t, export.Root), parseConfig(t, export.Config)
		if problems := buildcache.Validate(root, int64(len(export.Root)), config); len(problems) > 0 {
			t.Errorf("%s: %+v", export.Name, problems)
		}
		used := buildcache.UsedBlobs(root, config)
		for _, layer := range root.Layers {
			if !used[layer.Digest] {
				t.Errorf("%s: %s counts as unused", export.Name, layer.Digest)
			}
		}
	}
}

func TestUsedBlobs(t *testing.T) {
	t.Parallel()
	layer := func(name string, parent int) buildcache.Layer {
		return buildcache.Layer{Blob: sum(name), Parent: parent}
	}
	root := &buildcache.Root{}
	for _, name := range []string{"base", "top", "chained", "side", "random", "below unlisted", "spare"} {
		root.Layers = append(root.Layers, buildcache.Descriptor{Digest: sum(name)})
	}
	config := &buildcache.Config{
		Layers: []buildcache.Layer{
			layer("base", buildcache.NoParent), layer("top", 0), layer("chained", 0), layer("side", 0), layer("random", 0),
			layer("below unlisted", buildcache.NoParent), layer("unlisted", 5), layer("spare", 7),
		},
		Records: []buildcache.Record{
			{Digest: "random:r", Results: []buildcache.Result{{Layer: 4}, {Layer: 1}}, Chains: []buildcache.Chain{{Layers: []int{4}}}},
			{Digest: sum("r"), Results: []buildcache.Result{{Layer: 1}, {Layer: 6}, {Layer: 7}, {Layer: 99}}},
			{Digest: sum("s"), Chains: []buildcache.Chain{{Layers: []int{2}}, {Layers: []int{3, 6}}, {Layers: []int{3, -1}}}},
		},
	}
	got := buildcache.UsedBlobs(root, config)
	want := map[digest.Digest]bool{sum("base"): true, sum("top"): true, sum("chained"): true}
	if !reflect.DeepEqual(got, want) {
		for _, d := range root.Layers {
			t.Logf("%v", got[d.Digest])
		}
		t.Errorf("got %v", got)
	}
}

// TestValidateIsBounded checks that a config full of mistakes gives a short report.
func TestValidateIsBounded(t *testing.T) {
	t.Parallel()
	const many = 100000
	bad := buildcache.Record{Inputs: make([][]buildcache.Input, 10), Results: make([]buildcache.Result, 10)}
	for i := range bad.Results {
		bad.Inputs[i] = []buildcache.Input{{Link: -1}, {Link: 0}}
		bad.Results[i].Layer = -1
	}
	config := &buildcache.Config{Records: make([]buildcache.Record, many/10)}
	for i := range config.Records {
		config.Records[i] = bad
	}
	root := &buildcache.Root{Form: buildcache.Artifact, Layers: make([]buildcache.Descriptor, many)}
	perKind := map[buildcache.Kind]int{}
	for _, p := range buildcache.Validate(root, 1, config) {
		perKind[p.Kind]++
	}
	if len(perKind) < 8 {
		t.Errorf("only %v", perKind)
	}
	for kind, n := range perKind {
		if n > 101 {
			t.Errorf("%s is there %d times", kind, n)
		}
	}
	if perKind[buildcache.LayerIndexRange] != 101 {
		t.Errorf("%s is there %d times, want 100 and a line that there are more", buildcache.LayerIndexRange, perKind[buildcache.LayerIndexRange])
	}
}

// TestValidateKeepsErrors hides a lost hit behind more warnings of its kind than are listed.
func TestValidateKeepsErrors(t *testing.T) {
	t.Parallel()
	root := &buildcache.Root{Form: buildcache.Artifact, MediaType: ociManifest, Layers: []buildcache.Descriptor{{Digest: sum("a")}}}
	config := &buildcache.Config{Layers: []buildcache.Layer{{Blob: sum("a"), Parent: buildcache.NoParent}, {Blob: sum("unlisted"), Parent: buildcache.NoParent}}}
	for range 200 { // each has another result
		config.Records = append(config.Records, buildcache.Record{Digest: sum("r"), Results: []buildcache.Result{{Layer: 0}, {Layer: 1}}})
	}
	worst := func() (worst buildcache.Severity) {
		for _, p := range buildcache.Validate(root, 1, config) {
			if p.Kind == buildcache.LayerUnlisted && worst != buildcache.SeverityError {
				worst = p.Severity
			}
		}
		return worst
	}
	if got := worst(); got != buildcache.SeverityWarning {
		t.Errorf("nothing is lost, and it is an %s", got)
	}
	config.Records[190].Results = []buildcache.Result{{Layer: 1}}
	if got := worst(); got != buildcache.SeverityError {
		t.Errorf("a hit is lost, and it is a %s", got)
	}
}

// hostile are configs that a wrong algorithm takes quadratic time or a deep stack for, by their number of records or layers.
var hostile = map[string]func(n int) *buildcache.Config{
	"links in one long chain": func(n int) *buildcache.Config {
		config := &buildcache.Config{Records: make([]buildcache.Record, n)}
		for i := range n - 1 { // each links to the next, so that the first one met leads to the bottom
			config.Records[i].Inputs = [][]buildcache.Input{{{Link: i + 1}}}
		}
		return config
	},
	"links in one large circle": func(n int) *buildcache.Config {
		config := &buildcache.Config{Records: make([]buildcache.Record, n)}
		for i := range n {
			config.Records[i].Inputs = [][]buildcache.Input{{{Link: (i + 1) % n}}}
		}
		return config
	},
	"a ladder with two ways at every step": func(n int) *buildcache.Config {
		config := &buildcache.Config{Records: make([]buildcache.Record, n)}
		for i := range n - 2 {
			config.Records[i].Inputs = [][]buildcache.Input{{{Link: i + 1}, {Link: i + 2}}, {{Link: i + 2}}}
		}
		return config
	},
	"all links from one record": func(n int) *buildcache.Config {
		config := &buildcache.Config{Records: make([]buildcache.Record, n)}
		for i := range n {
			config.Records[0].Inputs = append(config.Records[0].Inputs, []buildcache.Input{{Link: i}})
		}
		return config
	},
	"parents in one long chain, a result on each": func(n int) *buildcache.Config {
		config := &buildcache.Config{Layers: make([]buildcache.Layer, n), Records: make([]buildcache.Record, n)}
		for i := range n {
			config.Layers[i] = buildcache.Layer{Blob: sum("layer"), Parent: i - 1}
			config.Records[n-1-i].Results = []buildcache.Result{{Layer: i}}
		}
		return config
	},
	"parents in one large circle, a result on each": func(n int) *buildcache.Config {
		config := &buildcache.Config{Layers: make([]buildcache.Layer, n), Records: make([]buildcache.Record, n)}
		for i := range n {
			config.Layers[i] = buildcache.Layer{Blob: sum("layer"), Parent: (i + 1) % n}
			config.Records[i].Results = []buildcache.Result{{Layer: i}}
		}
		return config
	},
	"parents in one long chain, which ends in an unlisted layer": func(n int) *buildcache.Config {
		config := &buildcache.Config{Layers: make([]buildcache.Layer, n), Records: make([]buildcache.Record, n)}
		for i := range n {
			config.Layers[i] = buildcache.Layer{Blob: sum("layer"), Parent: i + 1}
			config.Records[i].Results = []buildcache.Result{{Layer: i}}
		}
		config.Layers[n-1].Blob = sum("unlisted")
		return config
	},
}

// timeOf returns how long f takes of processors, which does not depend on what else the machine does. Its callers are no
// parallel tests, so that nothing else runs in this process.
func timeOf(f func()) time.Duration {
	start := used()
	f()
	return used() - start
}

// used returns how long processors have worked for this process.
func used() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestValidateIsLinear lets each hostile config grow 32 times, and compares it with 32 small ones, one after the other.
// Linear work takes as long, quadratic work 32 times as long. The quickest of some tries counts.
func TestValidateIsLinear(t *testing.T) {
	const factor, most, tries = 32, 8, 5
	small := quicktest.Rounds(800, 1600)
	root := &buildcache.Root{Form: buildcache.Artifact, Layers: []buildcache.Descriptor{{Digest: sum("layer")}}}
	for name, build := range hostile {
		few, many := build(small), build(small*factor)
		ofMany := func() { buildcache.Validate(root, 1, many) }
		ofFew := func() {
			for range factor {
				buildcache.Validate(root, 1, few)
			}
		}
		base, grown := timeOf(ofFew), timeOf(ofMany)
		for try := 1; try < tries && grown > most*base; try++ {
			base, grown = min(base, timeOf(ofFew)), min(grown, timeOf(ofMany))
		}
		if grown > most*base {
			t.Errorf("%s: a config %d times as large takes %.0f times as long as %d small ones", name, factor, float64(grown)/float64(base), factor)
		}
	}
}

// TestValidateLargestConfig goes the whole way for a config of 10 MiB. Quadratic work would take hours.
func TestValidateLargestConfig(t *testing.T) {
	var raw strings.Builder
	raw.WriteString(`{"layers":[{"blob":"` + sum("layer").String() + `","parent":-1}],"records":[{"digest":"x"}`)
	size := quicktest.Rounds(2<<20, 10<<20)
	for i := 1; raw.Len() < size; i++ {
		fmt.Fprintf(&raw, `,{"layers":[{"layer":0,"createdAt":"2026-01-02T03:04:05Z"}],"digest":"sha256:%064d","inputs":[[{"link":%d}]]}`, i, i-1)
	}
	raw.WriteString(`]}`)
	root := &buildcache.Root{Form: buildcache.Artifact, Layers: []buildcache.Descriptor{{Digest: sum("layer")}}}
	took := timeOf(func() {
		config := parseConfig(t, []byte(raw.String()))
		if problems := buildcache.Validate(root, 1, config); len(problems) == 0 {
			t.Error("no problems, though the root's layer has no diffID")
		}
	})
	if took > time.Minute*time.Duration(size)/(10<<20) {
		t.Errorf("took %v", took)
	}
	t.Logf("took %v", took)
}
