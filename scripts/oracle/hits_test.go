package oracle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cacheimport "github.com/moby/buildkit/cache/remotecache/v1"
	cacheimporttypes "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/moby/buildkit/solver"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
)

// store is what BuildKit makes of caches that it imports into one: it answers which results a build would hit.
type store struct {
	keys  keyStorage
	names map[string]string // the layers of a result, by BuildKit's name for it
}

// keyStorage is BuildKit's own one, with what only its debugging asks for.
type keyStorage interface {
	solver.CacheKeyStorage
	WalkLinksAll(id string, found func(id string, link solver.CacheInfoLink) error) error
}

// importInto lets BuildKit import caches, one after the other, into one.
func importInto(t *testing.T, caches ...buildcache.Cache) *store {
	t.Helper()
	chains := cacheimport.NewCacheChains()
	to := &naming{CacheChains: chains, names: map[string]string{}}
	for _, c := range caches {
		provider := cacheimport.DescriptorProvider{}
		for _, layer := range c.Root.Layers {
			provider[layer.Digest] = cacheimport.DescriptorProviderPair{Descriptor: ocispec.Descriptor{Digest: layer.Digest}}
		}
		raw, err := json.Marshal(c.Config)
		if err != nil {
			t.Fatal(err)
		}
		var config cacheimporttypes.CacheConfig
		if err := json.Unmarshal(raw, &config); err != nil {
			t.Fatal(err)
		}
		if err := cacheimport.ParseConfig(config, provider, to); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
	}
	// An export puts the results of each record in order, newest first, as Merge promises to. (An import alone leaves them
	// as they came, and of one result that came twice takes the first time for its own.)
	if _, _, err := chains.Marshal(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, _, err := cacheimport.NewCacheKeyStorage(chains, nil)
	if err != nil {
		t.Fatal(err)
	}
	storage, ok := keys.(keyStorage)
	if !ok {
		t.Fatalf("%T does not say all links", keys)
	}
	return &store{storage, to.names}
}

// naming notes the layers of results. BuildKit names a result by the hash of their digests.
type naming struct {
	*cacheimport.CacheChains
	names map[string]string
}

func (c *naming) Add(d digest.Digest, deps [][]solver.CacheLink, kept []solver.CacheExportResult) (solver.CacheExporterRecord, bool, error) {
	for _, r := range kept {
		name := digest.Canonical.Digester()
		var layers []string
		for _, layer := range r.Result.Descriptors {
			name.Hash().Write([]byte(layer.Digest))
			layers = append(layers, layer.Digest.Encoded()[:8])
		}
		c.names[name.Digest().String()] = strings.Join(layers, ",")
	}
	return c.CacheChains.Add(d, deps, kept)
}

// step is a step of a build with its cache key, as a build asks for it: one key for every input.
type step struct {
	key    digest.Digest
	inputs []asked
}

type asked struct {
	selector string
	step     *step
}

func (s *step) String() string {
	var inputs []string
	for _, input := range s.inputs {
		inputs = append(inputs, input.selector+"/"+input.step.String())
	}
	return s.key.Encoded()[:6] + "(" + strings.Join(inputs, " ") + ")"
}

// ids returns what BuildKit finds for a step: it asks for each input on its own, and takes what all of them lead to
// (solver/cachemanager.go, Query; solver/edge.go).
func (s *store) ids(asks *step, known map[*step][]string) []string {
	if ids, ok := known[asks]; ok {
		return ids
	}
	var found []string
	if len(asks.inputs) == 0 && s.keys.Exists(asks.key.String()) {
		found = []string{asks.key.String()}
	}
	for i, input := range asks.inputs {
		var led []string
		for _, from := range s.ids(input.step, known) {
			_ = s.keys.WalkLinksAll(from, func(id string, link solver.CacheInfoLink) error {
				if link.Input == solver.Index(i) && link.Digest == asks.key && link.Selector.String() == input.selector {
					led = append(led, id)
				}
				return nil
			})
		}
		if i == 0 {
			found = led
		} else {
			found = slices.DeleteFunc(found, func(id string) bool { return !slices.Contains(led, id) })
		}
	}
	known[asks] = found
	return found
}

// hit is a result that a build gets.
type hit struct {
	created time.Time
	layers  string
}

func (h hit) String() string {
	return fmt.Sprintf("[%s] of %s", h.layers, h.created.UTC().Format(time.RFC3339Nano))
}

// newest returns the results that BuildKit may take for a step: the newest, and all that are as new.
func (s *store) newest(t *testing.T, asks *step) []hit {
	t.Helper()
	var hits []hit
	for _, id := range s.ids(asks, map[*step][]string{}) {
		err := s.keys.WalkResults(id, func(r solver.CacheResult) error {
			h := hit{r.CreatedAt.UTC(), s.names[r.ID]}
			switch {
			case len(hits) > 0 && h.created.Before(hits[0].created):
			case len(hits) > 0 && h.created.Equal(hits[0].created):
				hits = append(hits, h)
			default:
				hits = []hit{h}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return hits
}

// steps returns builds that would ask for the records of a config: for each up to limit ways to choose one alternative
// for every input, all the way down. Records that nothing can ask for have none.
func steps(config *buildcache.Config, limit int) [][]*step {
	all := make([][]*step, len(config.Records))
	done := make([]bool, len(config.Records))
	var of func(i int) []*step
	of = func(i int) []*step {
		if done[i] {
			return all[i]
		}
		done[i] = true
		record := config.Records[i]
		if buildcache.CheckDigest(record.Digest) != nil {
			return nil
		}
		ways := []*step{{key: record.Digest}}
		for _, alternatives := range record.Inputs {
			var longer []*step
			for _, way := range ways {
				for _, input := range alternatives {
					for _, from := range of(input.Link) {
						if len(longer) < limit {
							inputs := append(slices.Clone(way.inputs), asked{input.Selector, from})
							longer = append(longer, &step{record.Digest, inputs})
						}
					}
				}
			}
			ways = longer
		}
		all[i] = ways
		return ways
	}
	for i := range config.Records {
		of(i)
	}
	return all
}

// realCaches returns BuildKit's own exports by name.
func realCaches(t *testing.T) map[string]buildcache.Cache {
	t.Helper()
	return readCaches(t, "../../testdata/caches/*/blobs/sha256/*")
}
