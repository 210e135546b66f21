package oracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/util/imageutil"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// TestRandomConfigs makes small configs at random, most of them with mistakes, and wants the same verdict from both.
func TestRandomConfigs(t *testing.T) {
	const seed, configs, enough = 1, 200000, 5 * time.Second
	random := rand.New(rand.NewPCG(seed, seed))
	rejected, dropped, n := 0, 0, 0
	for start := time.Now(); n < configs && time.Since(start) < enough; n++ {
		root, config := randomCache(random)
		raw, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := parseConfig(root, raw)
		problems := buildcache.Validate(root, 1, config)
		rejects, drops := verdict(t, problems)
		if rejects != (err != nil) {
			t.Fatalf("BuildKit says: %v\nValidate: %+v\nconfig: %s\nroot: %+v", err, problems, raw, root.Layers)
		}
		if err != nil {
			rejected++
			continue
		}
		if all := countResults(config); drops != all-kept.n {
			t.Fatalf("BuildKit drops %d of %d results\nValidate: %+v\nconfig: %s\nroot: %+v", all-kept.n, all, problems, raw, root.Layers)
		}
		if used := buildcache.UsedBlobs(root, config); !maps.Equal(used, kept.layers) {
			t.Fatalf("BuildKit needs %v, UsedBlobs says %v\nconfig: %s", kept.layers, used, raw)
		}
		if drops > 0 {
			dropped++
		}
	}
	t.Logf("%d configs: %d rejected, %d lose results", n, rejected, dropped)
	if rejected < n/20 || rejected > n*19/20 || dropped < n/20 {
		t.Error("the mixture says little")
	}
}

func countResults(config *buildcache.Config) int {
	n := 0
	for _, record := range config.Records {
		if !strings.HasPrefix(record.Digest.String(), "random:") {
			n += len(record.Results) + len(record.Chains)
		}
	}
	return n
}

// randomCache makes a config of a few layers and records, and a root that lists most of the layers.
func randomCache(random *rand.Rand) (*buildcache.Root, *buildcache.Config) {
	some := func(most int) int { return random.IntN(most + 1) }
	seldom := func(one int) bool { return random.IntN(one) == 0 }
	name := func() digest.Digest { return digest.FromString(fmt.Sprint(random.IntN(6))) }
	root, config := &buildcache.Root{Form: buildcache.Artifact}, &buildcache.Config{}
	layers, records := 1+some(5), some(6)
	for i := range layers {
		layer := buildcache.Layer{Blob: name(), Parent: random.IntN(i+1) - 1}
		if seldom(40) {
			layer.Parent = random.IntN(layers+3) - 2 // may be a circle, or nowhere
		}
		config.Layers = append(config.Layers, layer)
		if !seldom(5) {
			root.Layers = append(root.Layers, buildcache.Descriptor{Digest: layer.Blob})
		}
	}
	index := func() int {
		if layers == 0 || seldom(80) {
			return random.IntN(layers+2) - 1
		}
		return random.IntN(layers)
	}
	for i := range records {
		record := buildcache.Record{Digest: name()}
		switch {
		case seldom(30):
			record.Digest = "random:x"
		case seldom(30):
			record.Digest = ""
		}
		for range some(2) {
			record.Results = append(record.Results, buildcache.Result{Layer: index(), CreatedAt: buildcache.Time{Time: time.Unix(int64(some(9)), 0)}})
		}
		if seldom(4) {
			chain := buildcache.Chain{Layers: []int{}}
			for range some(3) {
				chain.Layers = append(chain.Layers, index())
			}
			record.Chains = append(record.Chains, chain)
		}
		for range some(2) {
			var slot []buildcache.Input
			for range some(2) {
				input := buildcache.Input{Link: random.IntN(i + 1)} // to itself at times
				if i > 0 && !seldom(40) {
					input.Link = random.IntN(i)
				}
				if seldom(60) {
					input.Link = random.IntN(records+2) - 1 // may be a circle, or nowhere
				}
				if seldom(3) {
					input.Selector = "sha256:s"
				}
				slot = append(slot, input)
			}
			if slot != nil || seldom(60) {
				record.Inputs = append(record.Inputs, slot)
			}
		}
		config.Records = append(config.Records, record)
	}
	return root, config
}

// TestEveryRoot puts the members that decide about a root together in every way.
func TestEveryRoot(t *testing.T) {
	mediaTypes := []string{
		"", `"mediaType":null`, `"mediaType":""`, `"mediaType":"text/plain"`, `"mediaType":3`, `"MediaType":"` + buildcache.MediaTypeOCIManifest + `"`,
		`"mediaType":"` + buildcache.MediaTypeOCIManifest + `"`, `"mediaType":"` + buildcache.MediaTypeDockerManifest + `"`,
		`"mediaType":"` + buildcache.MediaTypeOCIIndex + `"`, `"mediaType":"` + buildcache.MediaTypeDockerList + `"`,
	}
	config := `{"mediaType":"` + buildcache.MediaTypeConfig + `","digest":"` + digest.FromString("{}").String() + `","size":2}`
	configs := []string{"", `"config":null`, `"config":{}`, `"config":[]`, `"config":` + config, `"CONFIG":` + config}
	layers := []string{"", `"layers":null`, `"layers":[]`, `"layers":{}`, `"layers":[` + config + `]`, `"layers":[{"size":"1"}]`, `"Layers":[{}]`}
	lists := []string{"", `"manifests":null`, `"manifests":[]`, `"manifests":3`, `"manifests":[` + config + `]`, `"manifests":[` + config + `,{}]`, `"MANIFESTS":[` + config + `]`}
	accepted := 0
	for _, mediaType := range mediaTypes {
		for _, config := range configs {
			for _, layers := range layers {
				for _, list := range lists {
					members := []string{mediaType, config, layers, list}
					raw := []byte("{" + strings.Join(present(members), ",") + "}")
					accepted += compareRoot(t, raw)
				}
			}
		}
	}
	if accepted < 50 {
		t.Errorf("only %d roots were accepted", accepted)
	}
}

func present(members []string) []string {
	var all []string
	for _, member := range members {
		if member != "" {
			all = append(all, member)
		}
	}
	return all
}

// compareRoot returns 1 for the root of a cache.
func compareRoot(t *testing.T, raw []byte) int {
	t.Helper()
	want, wantErr := imageutil.DetectManifestBlobMediaType(raw)
	got, err := buildcache.DetectMediaType(raw)
	if got != want || (err == nil) != (wantErr == nil) {
		t.Errorf("%s\nBuildKit: %s, %v\nDetectMediaType: %s, %v", raw, want, wantErr, got, err)
	}
	imported := importCache(t, raw, int64(len(raw)), []byte("{}"))
	if _, err := buildcache.ParseRoot(raw); (err == nil) != (imported == nil) {
		t.Errorf("%s\nBuildKit: %v\nParseRoot: %v", raw, imported, err)
	}
	if imported != nil {
		return 0
	}
	return 1
}

// TestCorpus lets BuildKit import its own exports.
func TestCorpus(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/caches/*/blobs/sha256/*")
	if err != nil {
		t.Fatal(err)
	}
	roots := 0
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		root, err := buildcache.ParseRoot(raw)
		if err != nil {
			continue
		}
		roots++
		rawConfig, err := os.ReadFile(filepath.Join(filepath.Dir(path), root.Config.Digest.Encoded()))
		if err != nil {
			t.Fatal(err)
		}
		if err := importCache(t, raw, int64(len(raw)), rawConfig); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		config, err := buildcache.ParseConfig(rawConfig)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := parseConfig(root, rawConfig)
		if err != nil || kept.n != countResults(config) || !maps.Equal(kept.layers, buildcache.UsedBlobs(root, config)) {
			t.Errorf("%s: BuildKit keeps %d of %d results, %v", path, kept.n, countResults(config), err)
		}
	}
	if roots < 20 {
		t.Errorf("only %d roots", roots)
	}
}
