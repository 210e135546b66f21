package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/registrytest"
)

// tagsVariable says how many tags the larger repository of TestTagMemory has, instead of a few.
const tagsVariable = "OCICACHE_TEST_TAGS"

// perTag is how many bytes of memory a tag may take: of its line in the result and the state, and of what is known of its blobs. Go's
// collector lets it become twice that, and a table is in memory for its columns.
const perTag = 3 << 10

// tagFarm is a registry with one repository, read-only, of which nothing is stored but what all caches share: roots and configs are made
// when they are asked for. Each cache has a config of its own, and layers that all have.
type tagFarm struct {
	names  []string       // of tags, sorted
	number map[string]int // of a cache, by its tag, and by the digests of its root and its config
	layers []blob
	blobs  map[string][]byte
}

func newTagFarm(t *testing.T, tags int) *tagFarm {
	t.Helper()
	m := &tagFarm{number: map[string]int{}, blobs: map[string][]byte{}}
	for n := range 4 {
		raw := []byte(strings.Repeat(fmt.Sprint("layer ", n), 100))
		d := digest.FromBytes(raw)
		m.blobs[d.String()] = raw
		m.layers = append(m.layers, blob{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: d, Size: int64(len(raw)), Annotations: map[string]string{
			"containerd.io/uncompressed": d.String(), "buildkit/createdat": "2026-01-02T03:04:05Z",
		}})
	}
	for n := range tags {
		name := fmt.Sprintf("tag-%05d", n)
		m.names = append(m.names, name)
		m.number[name] = n
		m.number[digest.FromBytes(m.root(n)).String()] = n
		m.number[digest.FromBytes(m.config(n)).String()] = n
	}
	return m
}

// config returns the cache config of a cache, in which its number is.
func (m *tagFarm) config(n int) []byte {
	var layers, records []string
	for i, layer := range m.layers {
		layers = append(layers, fmt.Sprintf(`{"blob":%q,"parent":%d}`, layer.Digest, i-1))
		records = append(records, fmt.Sprintf(`{"layers":[{"layer":%d,"createdAt":"2026-01-02T03:04:05Z"}],"digest":%q}`, i, digest.FromString(fmt.Sprint(n, i))))
	}
	return fmt.Appendf(nil, `{"layers":[%s],"records":[%s]}`, strings.Join(layers, ","), strings.Join(records, ","))
}

func (m *tagFarm) root(n int) []byte {
	config := m.config(n)
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": m.layers,
		"config": blob{MediaType: "application/vnd.buildkit.cacheconfig.v0", Digest: digest.FromBytes(config), Size: int64(len(config))},
	})
	if err != nil {
		panic(err)
	}
	return raw
}

// ServeHTTP answers as a registry does.
func (m *tagFarm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	n, known := m.number[name]
	switch {
	case r.URL.Path == "/v2/":
	case strings.HasSuffix(r.URL.Path, "/tags/list"):
		m.page(w, r)
	case known && strings.Contains(r.URL.Path, "/manifests/"):
		raw := m.root(n)
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(raw).String())
		_, _ = w.Write(raw) // a client that left needs no answer
	case known:
		_, _ = w.Write(m.config(n)) // as above
	case m.blobs[name] != nil:
		_, _ = w.Write(m.blobs[name]) // as above
	default:
		http.NotFound(w, r)
	}
}

// page lists at most a thousand tags, as distribution does.
func (m *tagFarm) page(w http.ResponseWriter, r *http.Request) {
	first := 0
	if last := r.URL.Query().Get("last"); last != "" {
		first = m.number[last] + 1
	}
	page := m.names[first:min(first+tagsOnPage, len(m.names))]
	if first+len(page) < len(m.names) {
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&last=%s>; rel="next"`, r.URL.Path, tagsOnPage, page[len(page)-1]))
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"name": "many", "tags": page}) // as above
}

const tagsOnPage = 250

// TestTagMemory says how little memory grows with the number of tags of a repository, and that they are listed in pages.
func TestTagMemory(t *testing.T) {
	t.Parallel()
	many := 200
	if text := os.Getenv(tagsVariable); text != "" {
		var err error
		if many, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", tagsVariable, err)
		}
	}
	few := min(1000, many/10)
	before := runTags(t, few)
	for what, rss := range runTags(t, many) {
		t.Logf("%-18s %5d tags: %3d MiB, %5d tags: %3d MiB", what, few, before[what], many, rss)
		if grew := rss - before[what]; grew > (many-few)*perTag>>20+rssNoise {
			t.Errorf("%s: %d MiB more for %d tags more", what, grew, many-few)
		}
	}
}

// rssNoise is how much the memory of two equal runs may differ, in MiB, with the race detector too.
const rssNoise = 48

// runTags has commands work on a repository with that many tags, and returns how much memory each had.
func runTags(t *testing.T, tags int) map[string]int {
	t.Helper()
	src, dst, dir := registrytest.Serve(t, newTagFarm(t, tags)), registrytest.New(t, registrytest.Options{}), t.TempDir()
	plan := filepath.Join(dir, "plan.yaml")
	text := fmt.Sprintf("version: 1\nregistries:\n  %q: {tls_verify: false}\n  %q: {tls_verify: false}\nmigrations:\n  - source: docker://%s/many\n    target: docker://%s/moved\n",
		src.Host, dst.Host, src.Host, dst.Host)
	if err := os.WriteFile(plan, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state.jsonl")
	sync := []string{"sync", "docker://" + src.Host + "/many", "docker://" + dst.Host + "/synced", "--src-tls-verify=false", "--dest-tls-verify=false"}
	rss := map[string]int{}
	for _, run := range []struct {
		what string
		args []string
	}{
		{"migrate check", []string{"migrate", "check", plan}},
		{"migrate run", []string{"migrate", "run", plan, "--state", state}},
		{"migrate run again", []string{"migrate", "run", plan, "--state", state}},
		{"sync", sync},
		{"sync again", sync},
	} {
		src.Forget()
		asked := dst.Count("", "/synced/")
		rss[run.what] = memoryOf(t, run.args...)
		if asked = dst.Count("", "/synced/") - asked; run.what == "sync again" && asked > tags+tags/10 {
			t.Errorf("%s: %d requests at the destination", run.what, asked)
		}
		pages := (tags + tagsOnPage - 1) / tagsOnPage
		if asked := src.Count(http.MethodGet, "/tags/list"); asked != pages {
			t.Errorf("%s: %d requests for a list of %d pages", run.what, asked, pages)
		}
	}
	if listed := dst.Count(http.MethodPut, "/moved/manifests/tag-"); listed != tags {
		t.Errorf("%d of %d tags were written", listed, tags)
	}
	return rss
}

// memoryOf runs the program, and returns how many MiB it took. That is measured by a process that is small itself: what the system says
// of a child is at least what its parent had.
func memoryOf(t *testing.T, args ...string) int {
	t.Helper()
	report := filepath.Join(t.TempDir(), "report")
	args = append([]string{report, strconv.Itoa(8 << 30), "ocicache"}, args...)
	out, err := exec.CommandContext(t.Context(), "bounded", append(args, "--progress", "none")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out[max(0, len(out)-1000):])
	}
	raw, err := os.ReadFile(report)
	var took spent
	if err := errors.Join(err, json.Unmarshal(raw, &took)); err != nil {
		t.Fatal(err)
	}
	return took.Memory
}
