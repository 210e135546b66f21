package oracle

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// readCaches returns the caches whose roots are among files, by the name of the layout and the root's digest.
func readCaches(t *testing.T, pattern string) map[string]buildcache.Cache {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	caches := map[string]buildcache.Cache{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		root, err := buildcache.ParseRoot(raw)
		if err != nil {
			continue
		}
		raw, err = os.ReadFile(filepath.Join(filepath.Dir(path), root.Config.Digest.Encoded()))
		if err != nil {
			t.Fatal(err)
		}
		config, err := buildcache.ParseConfig(raw)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(path))))
		caches[name+"/"+root.Config.Digest.Encoded()[:6]] = buildcache.Cache{Root: root, Config: config}
	}
	if len(caches) < 15 {
		t.Fatalf("only %d caches", len(caches))
	}
	return caches
}

// compareHits asks for the same steps as before and now, and returns for how many there is a result. Of results that are as
// old as each other BuildKit keeps the one that it imports first, so there are several stores for before: what is hit now
// must be hit in one of them. A step that had no result before may have one now: BuildKit loses records that it has united
// with one that depends on them, and which it unites depends on their order.
func compareHits(t *testing.T, now *store, before []*store, asked []*step, about string) int {
	t.Helper()
	n := 0
	for _, asks := range asked {
		var were []hit
		for _, store := range before {
			were = append(were, store.newest(t, asks)...)
		}
		are := now.newest(t, asks)
		if len(are) > 0 {
			n++
		}
		isNew := func(h hit) bool { return !slices.Contains(were, h) }
		if len(were) > 0 && (len(are) == 0 || slices.ContainsFunc(are, isNew)) {
			t.Fatalf("%s: %s: BuildKit hits %v, and %v before", about, asks, are, were)
		}
	}
	return n
}

// TestMergeCorpus lets BuildKit import real caches one after the other into one, and what Merge makes of them, and asks
// both for every step of every source.
func TestMergeCorpus(t *testing.T) {
	caches := realCaches(t)
	names := slices.Sorted(maps.Keys(caches))
	hits := 0
	for i, name := range names {
		for _, other := range names[i+1 : min(i+7, len(names))] {
			sources := []buildcache.Cache{caches[name], caches[other]}
			hits += compareMerged(t, sources, 4, name+" and "+other)
		}
	}
	all := slices.Collect(maps.Values(caches))
	hits += compareMerged(t, all, 8, "all")
	t.Logf("%d hits", hits)
	if hits < 1000 {
		t.Error("too few")
	}
}

func compareMerged(t *testing.T, sources []buildcache.Cache, ways int, about string) int {
	t.Helper()
	merged, err := buildcache.Merge(sources, buildcache.MergeOptions{})
	if errors.Is(err, buildcache.ErrNoResults) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	now := importInto(t, merged.Cache)
	if merged.Cut > 0 {
		return 0 // the sources in one would end BuildKit, see TestMergeCircle
	}
	var before []*store
	for i := range sources {
		before = append(before, importInto(t, slices.Concat(sources[i:], sources[:i])...))
	}
	hits := 0
	for _, source := range sources {
		for _, asked := range steps(source.Config, ways) {
			hits += compareHits(t, now, before, asked, about)
		}
	}
	return hits
}

// TestMergeRandom does the same with random caches, whose times are all different so that BuildKit has no choice.
func TestMergeRandom(t *testing.T) {
	const enough = 5 * time.Second
	hits, n := 0, 0
	for start := time.Now(); n < 20000 && time.Since(start) < enough && !t.Failed(); n++ {
		random := rand.New(rand.NewPCG(3, uint64(n)))
		var sources []buildcache.Cache
		for range 3 {
			sources = append(sources, soundCache(random))
		}
		hits += compareMerged(t, sources, 6, fmt.Sprint("random ", n))
	}
	t.Logf("%d merges, %d hits", n, hits)
	if hits < n {
		t.Error("too few")
	}
}

// soundCache is a random cache that BuildKit imports, with a time for each result that no other has.
func soundCache(random *rand.Rand) buildcache.Cache {
	for {
		root, config := randomCache(random)
		if slices.ContainsFunc(buildcache.Validate(root, 1, config), func(p buildcache.Problem) bool { return slices.Contains(rejecting, p.Kind) }) {
			continue
		}
		// To BuildKit a record without a valid digest may show that two others are one. Merge leaves it out.
		if slices.ContainsFunc(config.Records, func(r buildcache.Record) bool { return r.Digest == "" }) {
			continue
		}
		for i := range root.Layers {
			root.Layers[i].MediaType, root.Layers[i].Size = "application/vnd.oci.image.layer.v1.tar+gzip", 10
			root.Layers[i].Annotations = map[string]string{buildcache.AnnotationDiffID: root.Layers[i].Digest.String()}
		}
		for i, record := range config.Records {
			// The records of one digest are of one operation, and have as many inputs.
			if buildcache.CheckDigest(record.Digest) == nil {
				config.Records[i].Digest = digest.FromString(fmt.Sprint(record.Digest, len(record.Inputs)))
			}
			for j := range config.Records[i].Results {
				config.Records[i].Results[j].CreatedAt.Time = time.Unix(random.Int64N(1e9), 0)
			}
			for j := range config.Records[i].Chains {
				config.Records[i].Chains[j].CreatedAt.Time = time.Unix(random.Int64N(1e9), 0)
			}
		}
		return buildcache.Cache{Root: root, Config: config}
	}
}

// circle returns two caches that BuildKit does not survive in one: t of a, t of that or of b, and u of it; and t of a or b.
func circle() []buildcache.Cache {
	name := digest.FromString
	input := func(links ...int) [][]buildcache.Input {
		var slot []buildcache.Input
		for _, link := range links {
			slot = append(slot, buildcache.Input{Link: link})
		}
		return [][]buildcache.Input{slot}
	}
	var caches []buildcache.Cache
	for i, records := range [][]buildcache.Record{
		{{Digest: name("a")}, {Digest: name("b")}, {Digest: name("t"), Inputs: input(0)}, {Digest: name("t"), Inputs: input(2, 1)}, {Digest: name("u"), Inputs: input(3)}},
		{{Digest: name("a")}, {Digest: name("b")}, {Digest: name("t"), Inputs: input(0, 1)}},
	} {
		layer := buildcache.Descriptor{
			MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: name("layer"), Size: 10,
			Annotations: map[string]string{buildcache.AnnotationDiffID: name("layer").String()},
		}
		for j := range records[2:] {
			records[2+j].Results = []buildcache.Result{{CreatedAt: buildcache.Time{Time: time.Unix(int64(10*i+j), 0)}}}
		}
		caches = append(caches, buildcache.Cache{
			Root:   &buildcache.Root{Form: buildcache.Artifact, Layers: []buildcache.Descriptor{layer}},
			Config: &buildcache.Config{Layers: []buildcache.Layer{{Blob: layer.Digest, Parent: buildcache.NoParent}}, Records: records},
		})
	}
	return caches
}

// TestMergeCircle shows that BuildKit ends where it unites records that depend on each other, which is why Merge cuts
// such circles; and that it reads what Merge makes of them, and hits the newest result with each of the keys.
func TestMergeCircle(t *testing.T) {
	caches := circle()
	if os.Getenv("ORACLE_CIRCLE") != "" {
		debug.SetMaxStack(1 << 20)
		for range 100 { // which record it unites with which is up to the order of a map
			importInto(t, caches...)
		}
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMergeCircle$")
	child.Env = append(os.Environ(), "ORACLE_CIRCLE=1")
	if out, err := child.CombinedOutput(); err == nil || !strings.Contains(string(out), "stack overflow") {
		t.Errorf("BuildKit survives it: %v\n%.2000s", err, out)
	}
	merged, err := buildcache.Merge(caches, buildcache.MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if merged.Cut != 1 {
		t.Errorf("%d cut", merged.Cut)
	}
	now := importInto(t, merged.Cache)
	for _, key := range []string{"a", "b"} {
		asks := &step{digest.FromString("t"), []asked{{"", &step{key: digest.FromString(key)}}}}
		if hits := now.newest(t, asks); len(hits) != 1 || !hits[0].created.Equal(time.Unix(10, 0)) {
			t.Errorf("t of %s hits %v", key, hits)
		}
	}
}
