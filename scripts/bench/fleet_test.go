package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
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

	"github.com/ocicache/ocicache/buildcache"
)

// The work of the comparison: caches that share most of their layers, as those of the branches of one project do.
const (
	fleetCaches = 200
	fleetShared = 9 // layers that all caches have
	fleetOwn    = 6 // layers of each cache
	fleetLayer  = 20 << 10
)

// TestFleet copies a repository of many caches from one registry to another with ocicache and with other programs, and
// prints what each took. It runs where OCICACHE_FLEET names a directory with the programs; scripts/peers-fleet.sh does so.
func TestFleet(t *testing.T) {
	bin, caches := fleetPrograms(t)
	src := startRegistry(t)
	want := fill(t, src, caches)
	for _, tool := range fleetTools() {
		dst := startRegistry(t)
		for _, round := range []string{"first", "again"} {
			src.reset()
			dst.reset()
			cost, err := runTool(t, bin, tool, src.host, dst.host)
			if err != nil {
				t.Logf("%-9s %-6s FAILED: %v", tool, round, err)
				continue
			}
			for tag, root := range want {
				if got := dst.root(t, tag); got != root {
					t.Errorf("%s: tag %s is %s, want %s", tool, tag, got, root)
				}
			}
			t.Logf("%-9s %-6s %6d requests at the source, %6d at the destination, %7.2f s, %4d MB",
				tool, round, src.count(), dst.count()-len(want), cost.took.Seconds(), cost.memory>>20)
		}
	}
}

// fleetPrograms returns the directory with the programs, and how many caches there are to be.
func fleetPrograms(t *testing.T) (bin string, caches int) {
	t.Helper()
	if bin = os.Getenv("OCICACHE_FLEET"); bin == "" {
		t.Skip("NOT MEASURED: OCICACHE_FLEET does not name the directory with the programs")
	}
	return bin, numberFrom(t, "OCICACHE_FLEET_CACHES", fleetCaches)
}

func numberFrom(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// fleetTools are the programs that are compared.
func fleetTools() []string { return []string{"ocicache", "regsync", "crane", "skopeo"} }

// fleetCost is what a run took.
type fleetCost struct {
	took, processor time.Duration
	memory          int64
}

// runTool copies all tags of team/cache.
func runTool(t *testing.T, bin, tool, src, dst string) (fleetCost, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	from, to := src+"/team/cache", dst+"/team/cache"
	var cmd *exec.Cmd
	switch tool {
	case "ocicache":
		cmd = exec.CommandContext(ctx, filepath.Join(bin, tool), "sync", "docker://"+from, "docker://"+to, "--src-tls-verify=false", "--dest-tls-verify=false")
	case "crane":
		cmd = exec.CommandContext(ctx, filepath.Join(bin, tool), "copy", "-a", "--insecure", from, to)
	case "skopeo":
		cmd = exec.CommandContext(ctx, tool, "sync", "--all", "--src", "docker", "--dest", "docker", "--src-tls-verify=false", "--dest-tls-verify=false", from, dst+"/team")
	case "regsync":
		config := filepath.Join(t.TempDir(), "regsync.yml")
		text := fmt.Sprintf("version: 1\ncreds:\n- registry: %s\n  tls: disabled\n  reqConcurrent: 6\n- registry: %s\n  tls: disabled\n  reqConcurrent: 6\ndefaults:\n  parallel: 4\nsync:\n- source: %s\n  target: %s\n  type: repository\n", src, dst, from, to)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd = exec.CommandContext(ctx, filepath.Join(bin, tool), "once", "-c", config)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	cost := fleetCost{took: time.Since(start)}
	if err != nil {
		text := out.String()
		return cost, fmt.Errorf("%w: %s", err, text[max(0, len(text)-500):])
	}
	cost.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		cost.memory = usage.Maxrss << 10
	}
	return cost, nil
}

// countedRegistry is Debian's docker-registry behind a proxy that counts.
type countedRegistry struct {
	host   string // of the proxy
	behind string // of the registry itself

	mu       sync.Mutex
	requests int
}

func (r *countedRegistry) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = 0
}

func (r *countedRegistry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// root returns the digest that a tag has.
func (r *countedRegistry) root(t *testing.T, tag string) digest.Digest {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.host+"/v2/team/cache/manifests/"+tag, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", buildcache.MediaTypeOCIManifest)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(response.Body)
	if closeErr := response.Body.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	return digest.FromBytes(raw)
}

// startRegistry starts a registry that ends with the test.
func startRegistry(t *testing.T) *countedRegistry {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	behind := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: " + dir + "}}\nhttp: {addr: " + behind + "}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // it is killed with the context
	r := &countedRegistry{behind: behind}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	transport.MaxIdleConnsPerHost = 64
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: behind})
		r.Out.Host = r.In.Host // where the registry says that uploads go on
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.requests++
		r.mu.Unlock()
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	_, r.host, _ = strings.Cut(server.URL, "://")
	for range 100 {
		if response, err := http.Get("http://" + behind + "/v2/"); err == nil {
			_ = response.Body.Close()
			return r
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the registry does not answer")
	return nil
}

// fill makes the caches, and returns the digest of each tag.
func fill(t *testing.T, r *countedRegistry, caches int) map[string]digest.Digest {
	t.Helper()
	base := "http://" + r.host + "/v2/team/cache"
	random := rand.New(rand.NewPCG(1, 2))
	push := func(raw []byte) buildcache.Descriptor {
		d := digest.FromBytes(raw)
		response, err := http.Post(base+"/blobs/uploads/", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		location, err := response.Location()
		if err != nil {
			t.Fatal(err)
		}
		query := location.Query()
		query.Set("digest", d.String())
		location.RawQuery = query.Encode()
		send(t, location.String(), "application/octet-stream", raw)
		return buildcache.Descriptor{Digest: d, Size: int64(len(raw))}
	}
	layer := func() buildcache.Descriptor {
		raw := make([]byte, fleetLayer)
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		d := push(raw)
		d.MediaType = buildcache.LayerMediaType(buildcache.Artifact, buildcache.Uncompressed)
		d.Annotations = map[string]string{buildcache.AnnotationDiffID: d.Digest.String()}
		return d
	}
	var shared []buildcache.Descriptor
	for range fleetShared {
		shared = append(shared, layer())
	}
	want := map[string]digest.Digest{}
	for n := range caches {
		root, config := &buildcache.Root{Form: buildcache.Artifact}, &buildcache.Config{}
		root.Layers = append(root.Layers, shared...)
		for range fleetOwn {
			root.Layers = append(root.Layers, layer())
		}
		for i, d := range root.Layers {
			config.Layers = append(config.Layers, buildcache.Layer{Blob: d.Digest, Parent: i - 1})
			record := buildcache.Record{Digest: digest.FromString(fmt.Sprint(n, i)), Results: []buildcache.Result{{Layer: i}}}
			config.Records = append(config.Records, record)
		}
		raw, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		root.Config = push(raw)
		root.Config.MediaType = buildcache.MediaTypeConfig
		if raw, err = json.Marshal(root); err != nil {
			t.Fatal(err)
		}
		tag := fmt.Sprintf("branch-%03d", n)
		send(t, base+"/manifests/"+tag, buildcache.MediaTypeOCIManifest, raw)
		want[tag] = digest.FromBytes(raw)
	}
	return want
}

func send(t *testing.T, address, mediaType string, raw []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", mediaType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("PUT %s: %s", address, response.Status)
	}
}
