package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/migrate"
)

// fleetVariable says how many caches TestMigrateFleet moves, instead of a few.
const fleetVariable = "OCICACHE_TEST_FLEET"

const (
	fleetRepositories = 3 // in each source
	fleetShared       = 2 // layers that all caches of a repository have
	fleetOwn          = 2 // layers of each cache
	fleetLayer        = 4 << 10
)

// fleetCache is a cache as it was made.
type fleetCache struct {
	source, repository, tag string
	root                    digest.Digest
	diffIDs                 []string
	zstd                    bool
}

// name returns the source with the tag, as states have it.
func (c fleetCache) name() string { return "docker://" + c.source + "/" + c.repository + ":" + c.tag }

// fleet is a migration of many caches.
type fleet struct {
	storms, slow, dies *registrytest.Server // the last one is where all go
	caches             []fleetCache
	plan               string
	shards             int

	mu    sync.Mutex
	procs map[int]*exec.Cmd
	kills int
	runs  int
	rss   int64 // the most that a process had, in bytes
}

// TestMigrateFleet moves caches from a registry that has enough of requests again and again, and from a slow one, to one that
// dies and comes back. Several processes share the work, two of them are killed and started again. In the end every cache is
// at its target, whole and converted, none was transferred twice, and the states tell the truth.
func TestMigrateFleet(t *testing.T) {
	t.Parallel()
	caches, shards := 48, 4
	if text := os.Getenv(fleetVariable); text != "" {
		var err error
		if caches, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", fleetVariable, err)
		}
		shards = 8
	}
	f := newFleet(t, caches, shards)
	begun := time.Now()
	var all sync.WaitGroup
	for shard := 1; shard <= shards; shard++ {
		all.Go(func() { f.work(t, shard) })
	}
	all.Wait()
	if t.Failed() {
		return
	}
	took := time.Since(begun)
	f.storms.AssertFired(t)
	f.dies.AssertFired(t)
	f.arrived(t)
	f.once(t)
	f.truth(t)
	t.Logf("%d caches by %d shards in %.1f s; %d kills, %d runs, %d MB at most; requests: %d and %d at the sources, %d at the target",
		len(f.caches), shards, took.Seconds(), f.kills, f.runs, f.rss/1e6,
		len(f.storms.Requests()), len(f.slow.Requests()), len(f.dies.Requests()))
}

func newFleet(t *testing.T, caches, shards int) *fleet {
	t.Helper()
	f := &fleet{
		storms: registrytest.New(t, registrytest.Options{TakesLists: true}), slow: registrytest.New(t, registrytest.Options{TakesLists: true}),
		dies: registrytest.New(t, registrytest.Options{}), shards: shards, procs: map[int]*exec.Cmd{},
	}
	var plan strings.Builder
	fmt.Fprintf(&plan, "version: 1\nregistries:\n")
	for _, s := range []*registrytest.Server{f.storms, f.slow, f.dies} {
		fmt.Fprintf(&plan, "  %q: {tls_verify: false}\n", s.Host)
	}
	fmt.Fprintf(&plan, "defaults: {to: auto}\nmigrations:\n")
	random := rand.New(rand.NewPCG(7, 11))
	for i, source := range []*registrytest.Server{f.storms, f.slow} {
		zstd := i == 0
		for n := range fleetRepositories {
			repository := fmt.Sprintf("team%d/app%d", i, n)
			f.fill(t, random, source, repository, caches/2/fleetRepositories, zstd)
			fmt.Fprintf(&plan, "  - source: docker://%s/%s\n    target: docker://%s/caches/{repository}\n", source.Host, repository, f.dies.Host)
			if zstd {
				fmt.Fprintf(&plan, "    compression: zstd\n")
			}
		}
		source.Forget()
	}
	f.plan = filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(f.plan, []byte(plan.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	f.inject()
	return f
}

// inject makes the registries what they are.
func (f *fleet) inject() {
	for storm := range 3 {
		f.storms.Inject(registrytest.Fault{Path: "/(manifests|blobs)/", Skip: 10 + 25*storm, Times: 5, Status: http.StatusTooManyRequests, RetryAfter: "1"})
	}
	f.slow.Inject(registrytest.Fault{Times: -1, Delay: 10 * time.Millisecond})
	// The first two go before the third, which would take their requests too.
	for kill := range 2 {
		f.dies.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/cache-", Skip: len(f.caches) * (kill + 1) / 5, Before: f.kill})
	}
	f.dies.Inject(registrytest.Fault{Skip: 8 * len(f.caches), Times: 40, Drop: true})
}

// kill kills a process, one that was not killed before if there is any.
func (f *fleet) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for shard, cmd := range f.procs { // in any order
		if shard%2 == f.kills%2 {
			f.kills++
			_ = cmd.Process.Kill() // it may have ended by itself, which is no harm
			return
		}
	}
}

// work runs one shard until everything of it is at its target.
func (f *fleet) work(t *testing.T, shard int) {
	state := f.state(shard)
	for range 10 {
		cmd := exec.CommandContext(t.Context(), "ocicache", "migrate", "run", f.plan, "--state", state, "--shard", fmt.Sprintf("%d/%d", shard, f.shards),
			"--retry", "1", "--progress", "none", "--json")
		cmd.Env = append(os.Environ(), "GORACE="+noSleep)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return
		}
		f.mu.Lock()
		f.procs[shard] = cmd
		f.runs++
		f.mu.Unlock()
		err := cmd.Wait()
		f.mu.Lock()
		delete(f.procs, shard)
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			f.rss = max(f.rss, usage.Maxrss<<10)
		}
		f.mu.Unlock()
		var exit *exec.ExitError
		switch {
		case err == nil:
			return
		case !errors.As(err, &exit), exit.Exited() && exit.ExitCode() != exitFailed:
			t.Errorf("shard %d: %v\n%s", shard, err, out.String())
			return
		}
	}
	t.Errorf("shard %d is not done after 10 runs", shard)
}

func (f *fleet) state(shard int) string {
	return filepath.Join(filepath.Dir(f.plan), fmt.Sprintf("state-%d.jsonl", shard))
}

// arrived looks at every cache at its target: root, config and layers.
func (f *fleet) arrived(t *testing.T) {
	t.Helper()
	for _, c := range f.caches {
		base := f.dies.URL + "/v2/caches/" + c.repository
		root := fetch(t, base+"/manifests/"+c.tag)
		var m manifest
		if err := json.Unmarshal(root, &m); err != nil {
			t.Fatal(err)
		}
		if m.Config.MediaType != "application/vnd.buildkit.cacheconfig.v0" || len(m.Layers) != len(c.diffIDs) {
			t.Fatalf("%s:%s is %s", c.repository, c.tag, root)
		}
		for i, layer := range m.Layers {
			if got := layer.Annotations["containerd.io/uncompressed"]; got != c.diffIDs[i] {
				t.Errorf("%s:%s: layer %d is %s, want %s", c.repository, c.tag, i, got, c.diffIDs[i])
			}
			if strings.HasSuffix(layer.MediaType, "zstd") != c.zstd {
				t.Errorf("%s:%s: layer %d is a %s", c.repository, c.tag, i, layer.MediaType)
			}
		}
		for _, blob := range append(m.Layers, m.Config) {
			if raw := fetch(t, base+"/blobs/"+blob.Digest.String()); digest.FromBytes(raw) != blob.Digest {
				t.Errorf("%s:%s: blob %s has other bytes", c.repository, c.tag, blob.Digest)
			}
		}
	}
}

// once says that no tag was written twice, and no blob that only one cache has was sent twice.
func (f *fleet) once(t *testing.T) {
	t.Helper()
	written := map[string]int{}
	for _, r := range f.dies.Requests() {
		if r.Method != http.MethodPut || r.Status != http.StatusCreated {
			continue
		}
		query, err := url.ParseQuery(r.Query)
		if err != nil {
			t.Fatal(err)
		}
		repository, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/v2/"), "/blobs/")
		written[repository+" "+query.Get("digest")]++
		if strings.Contains(r.Path, "/manifests/cache-") {
			written[r.Path]++
		}
	}
	users, most, begun := map[string]int{}, map[string]int{}, f.begun(t)
	for _, c := range f.caches {
		path := "/v2/caches/" + c.repository + "/manifests/" + c.tag
		if written[path] != 1 {
			t.Errorf("%s was written %d times", path, written[path])
		}
		var m manifest
		if err := json.Unmarshal(fetch(t, f.dies.URL+path), &m); err != nil {
			t.Fatal(err)
		}
		for _, blob := range append(m.Layers, m.Config) {
			name := "caches/" + c.repository + " " + blob.Digest.String()
			users[name]++
			// What is recompressed has no name before it has been sent: a cache that was being sent when its process was killed, or
			// the registry died, sends its own layers again.
			if most[name] = 1; strings.HasSuffix(blob.MediaType, "zstd") {
				most[name] = begun[c.name()]
			}
		}
	}
	for blob, n := range users {
		if n > 1 {
			most[blob] = f.runs + 1 // where the registry dies before a root names it, that run begins with its cache again
		}
		if written[blob] < 1 || written[blob] > most[blob] {
			t.Errorf("blob %s of %d caches was sent %d times, want %d at most", blob, n, written[blob], most[blob])
		}
	}
}

// begun returns how often each cache was begun, by its source and tag.
func (f *fleet) begun(t *testing.T) map[string]int {
	t.Helper()
	n := map[string]int{}
	for shard := 1; shard <= f.shards; shard++ {
		raw, err := os.ReadFile(f.state(shard))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			var r migrate.Record
			if json.Unmarshal(line, &r) == nil && r.Event == migrate.EventBegun {
				n[r.Source+":"+r.Tag]++
			}
		}
	}
	return n
}

// truth compares what states say with what is there.
func (f *fleet) truth(t *testing.T) {
	t.Helper()
	said := map[string]migrate.Record{}
	for shard := 1; shard <= f.shards; shard++ {
		raw, err := os.ReadFile(f.state(shard))
		if err != nil {
			t.Fatal(err)
		}
		state := migrate.NewState()
		if err := state.Read("state", bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
		for _, c := range state.Caches() {
			if c.Tag == "" {
				continue // a source that could not be looked at for a while
			}
			if _, twice := said[c.Source+":"+c.Tag]; twice {
				t.Errorf("%s:%s is in two shards", c.Source, c.Tag)
			}
			said[c.Source+":"+c.Tag] = c
		}
	}
	if len(said) != len(f.caches) {
		t.Errorf("the states have %d caches, want %d", len(said), len(f.caches))
	}
	for _, c := range f.caches {
		name := c.name()
		r := said[name]
		is := digest.FromBytes(fetch(t, f.dies.URL+"/v2/caches/"+c.repository+"/manifests/"+c.tag))
		if r.Event != migrate.EventDone && r.Event != migrate.EventThere || r.From != c.root || r.To != is {
			t.Errorf("%s: the state says %+v; it was %s and is %s", name, r, c.root, is)
		}
	}
}

// fill makes caches in a repository, as lists of layers packed by gzip.
func (f *fleet) fill(t *testing.T, random *rand.Rand, s *registrytest.Server, repository string, caches int, zstd bool) {
	t.Helper()
	base := s.URL + "/v2/" + repository
	layer := func() blob {
		content := make([]byte, fleetLayer)
		for i := range content {
			content[i] = byte(random.Uint32() % 16)
		}
		var layer, packed bytes.Buffer
		files := tar.NewWriter(&layer)
		err := files.WriteHeader(&tar.Header{Name: "f", Mode: 0o644, Size: fleetLayer})
		if err == nil {
			_, err = files.Write(content)
		}
		if err = errors.Join(err, files.Close()); err != nil {
			t.Fatal(err)
		}
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(layer.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		b := send(t, base, packed.Bytes())
		b.MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"
		b.Annotations = map[string]string{"containerd.io/uncompressed": digest.FromBytes(layer.Bytes()).String()}
		return b
	}
	var shared []blob
	for range fleetShared {
		shared = append(shared, layer())
	}
	for n := range caches {
		layers := append([]blob{}, shared...)
		for range fleetOwn {
			layers = append(layers, layer())
		}
		c := fleetCache{source: s.Host, repository: repository, tag: fmt.Sprintf("cache-%04d", n), zstd: zstd}
		var config struct {
			Layers  []map[string]any `json:"layers"`
			Records []map[string]any `json:"records"`
		}
		for i, b := range layers {
			config.Layers = append(config.Layers, map[string]any{"blob": b.Digest, "parent": i - 1})
			config.Records = append(config.Records, map[string]any{
				"digest": digest.FromString(fmt.Sprint(repository, n, i)), "layers": []any{map[string]any{"layer": i}},
			})
			c.diffIDs = append(c.diffIDs, b.Annotations["containerd.io/uncompressed"])
		}
		raw, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		b := send(t, base, raw)
		b.MediaType = "application/vnd.buildkit.cacheconfig.v0"
		root, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": append(layers, b),
		})
		if err != nil {
			t.Fatal(err)
		}
		push(t, http.MethodPut, base+"/manifests/"+c.tag, "application/vnd.oci.image.index.v1+json", root)
		c.root = digest.FromBytes(root)
		f.caches = append(f.caches, c)
	}
}

// send uploads a blob.
func send(t *testing.T, base string, raw []byte) blob {
	t.Helper()
	b := blob{Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	location, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	if location, err = location.Parse(push(t, http.MethodPost, base+"/blobs/uploads/", "", nil)); err != nil {
		t.Fatal(err)
	}
	query := location.Query()
	query.Set("digest", b.Digest.String())
	location.RawQuery = query.Encode()
	push(t, http.MethodPut, location.String(), "application/octet-stream", raw)
	return b
}

// push sends something, and returns where it is.
func push(t *testing.T, method, address, mediaType string, raw []byte) (location string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", mediaType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode >= 300 {
		t.Fatalf("%s %s: %s", method, address, response.Status)
	}
	return response.Header.Get("Location")
}

// fetch reads what an address has.
func fetch(t *testing.T, address string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "*/*")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", address, response.Status, err)
	}
	return raw
}
