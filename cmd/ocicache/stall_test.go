package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/registrytest"
)

// TestStallBesideFullDisk has a blob that never comes and a disk that is full meanwhile. The disk is what is told, and at
// once.
func TestStallBesideFullDisk(t *testing.T) {
	t.Parallel()
	server, repository := filledRegistry(t)
	for _, args := range [][]string{
		{"copy", repository, "{}/far"},
		{"sync", repository, "{}/far"},
		{"convert", repository, "{}/far", "--compression", "zstd"},
	} {
		t.Run(args[0], func(t *testing.T) {
			server.Heal()
			// The largest layer, which is the first that is asked for.
			stall := server.Inject(registrytest.Fault{Method: "GET", Path: "/blobs/sha256:74919df2", Hang: true, Times: -1})
			// What is asked for beside it comes later.
			server.Inject(registrytest.Fault{Method: "GET", Path: "/blobs/", Delay: time.Second, Times: -1})
			var failed atomic.Bool
			ctx := durable.WithFault(t.Context(), func(op durable.Op, _ string) error {
				if op == durable.OpWrite && stall.Fired() > 0 {
					failed.Store(true)
					return syscall.ENOSPC
				}
				return nil
			})
			start := time.Now()
			args := append(in(args...)(t.TempDir()), "--tls-verify=false", "--jobs", "8", "--idle-timeout", "1m")
			status, said := inProcess(ctx, args...)
			if took := time.Since(start); took > 20*time.Second || status != exitFailed || !strings.Contains(said, "no space left") {
				t.Errorf("status %d after %v: %s", status, took, said)
			}
			if !failed.Load() {
				t.Error("the disk was not full")
			}
		})
	}
}

// filledRegistry returns a registry, and a repository in it that has a cache.
func filledRegistry(t *testing.T) (*registrytest.Server, string) {
	t.Helper()
	server := registrytest.New(t, registrytest.Options{TakesLists: true})
	repository := "docker://" + server.Host + "/stalled:latest"
	if status, said := inProcess(t.Context(), "copy", corpus+"/artifact-gzip", repository, "--tls-verify=false"); status != exitDone {
		t.Fatal(said)
	}
	return server, repository
}

// TestStallOnce has a registry stall at each kind of request. Without retries that takes one idle timeout, not two.
func TestStallOnce(t *testing.T) {
	t.Parallel()
	const idle = 4 * time.Second
	var all sync.WaitGroup // more at once than processors, as they only wait
	defer all.Wait()
	for _, test := range []struct {
		name, method, path string
		args               []string
	}{
		{"ping", "GET", "/v2/$", []string{"inspect", "{}"}},
		{"root", "GET", "/manifests/", []string{"inspect", "{}"}},
		{"config", "GET", "/blobs/", []string{"inspect", "{}"}},
		{"tags", "GET", "/tags/", []string{"sync", "{all}", "{dir}/far"}},
		{"layer", "GET", "/blobs/", []string{"copy", "{}", "{dir}/far", "--jobs", "1"}},
		{"layers", "GET", "/blobs/", []string{"copy", "{}", "{dir}/far"}},
		{"deep", "GET", "/blobs/", []string{"verify", "--deep", "{}"}},
		{"look for a blob", "HEAD", "/blobs/", []string{"copy", corpus + "/artifact-gzip", "{new}"}},
		{"begin an upload", "POST", "", []string{"copy", corpus + "/artifact-gzip", "{new}"}},
		{"upload", "PUT", "/blobs/", []string{"copy", corpus + "/artifact-gzip", "{new}"}},
		{"end of an upload of a new blob", "PUT", "/uploads/", []string{"convert", corpus + "/artifact-gzip", "{new}", "--compression", "zstd"}},
		{"push of a new blob", "PATCH", "", []string{"convert", corpus + "/artifact-gzip", "{new}", "--compression", "zstd"}},
		{"push of a root", "PUT", "/manifests/sha256", []string{"copy", corpus + "/artifact-gzip", "{new}"}},
		{"tag", "PUT", "/manifests/latest", []string{"copy", corpus + "/artifact-gzip", "{new}"}},
	} {
		all.Go(func() {
			t.Run(test.name, func(t *testing.T) {
				server, repository := filledRegistry(t)
				whole := strings.TrimSuffix(repository, ":latest")
				var stalled atomic.Pointer[time.Time]
				first := func() { stalled.CompareAndSwap(nil, new(time.Now())) }
				server.Inject(registrytest.Fault{Method: test.method, Path: test.path, Hang: true, Times: -1, Before: first})
				names := strings.NewReplacer("{}", repository, "{all}", whole, "{new}", whole+"/new:latest", "{dir}", t.TempDir())
				var args []string
				for _, arg := range append(test.args, "--tls-verify=false", "--retry", "0", "--idle-timeout", idle.String()) {
					args = append(args, names.Replace(arg))
				}
				status, said := inProcess(t.Context(), args...)
				since := stalled.Load()
				if since == nil {
					t.Fatal("it did not stall")
				}
				took := time.Since(*since)
				if status != exitFailed || !strings.Contains(said, "silent") || took < idle/2 || took > idle*15/8 { // a busy registry hears a request later than it was sent
					t.Errorf("status %d after %v: %s", status, took, said)
				}
			})
		})
	}
}

// TestStallForGood has a registry that stalls for good, in the middle of something. That is found out once, whatever would
// have been asked next.
func TestStallForGood(t *testing.T) {
	t.Parallel()
	const idle = 4 * time.Second
	var all sync.WaitGroup // more at once than processors, as they only wait
	defer all.Wait()
	for _, test := range []struct {
		name, method, path string
		args               []string
	}{
		{"half a layer", "GET", "/blobs/", []string{"copy", "{}", "{dir}/far"}},
		{"tag", "PUT", "/manifests/latest", []string{"copy", corpus + "/artifact-gzip", "{new}"}},
	} {
		all.Go(func() {
			t.Run(test.name, func(t *testing.T) {
				whole, repository := filledRegistry(t)
				to, err := url.Parse(whole.URL)
				if err != nil {
					t.Fatal(err)
				}
				proxy, path := httputil.NewSingleHostReverseProxy(to), regexp.MustCompile(test.path)
				var stalled atomic.Pointer[time.Time]
				server := registrytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case stalled.Load() != nil:
						_, _ = io.Copy(io.Discard, r.Body) // only then it is seen when the other end goes away
						<-r.Context().Done()
					case r.Method == test.method && path.MatchString(r.URL.Path):
						now := time.Now()
						stalled.Store(&now)
						if r.Method == http.MethodGet {
							w.Header().Set("Content-Length", "100000")
							_, _ = w.Write(make([]byte, 1000))
							_ = http.NewResponseController(w).Flush()
						}
						_, _ = io.Copy(io.Discard, r.Body)
						<-r.Context().Done()
					default:
						proxy.ServeHTTP(w, r)
					}
				}))
				names := strings.NewReplacer("{}", repository, "{new}", "docker://"+whole.Host+"/new:latest", "{dir}", t.TempDir())
				var args []string
				for _, arg := range append(test.args, "--tls-verify=false", "--retry", "0", "--idle-timeout", idle.String()) {
					args = append(args, strings.ReplaceAll(names.Replace(arg), whole.Host, server.Host))
				}
				status, said := inProcess(t.Context(), args...)
				since := stalled.Load()
				if since == nil || status != exitFailed || !strings.Contains(said, "silent") {
					t.Fatalf("status %d: %s", status, said)
				}
				if took := time.Since(*since); took < idle/2 || took > 2*idle { // which two waits would take
					t.Errorf("%v after the stall: %s", took, said)
				}
			})
		})
	}
}

// slowListener gives connections a receive buffer so small that what was sent and not read waits on the sender's side, as it
// does where the line is slow.
type slowListener struct{ net.Listener }

func (l slowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = errors.Join(err, tcp.SetReadBuffer(4<<10))
	}
	return conn, err
}

// TestSlowUpload uploads over a slow line: the registry gets something all the time, though the client has sent its last byte
// long before it has an answer. It is not silent.
func TestSlowUpload(t *testing.T) {
	t.Parallel()
	const idle = time.Second
	whole, _ := filledRegistry(t) // it has the other layers
	to, err := url.Parse(whole.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/uploads/") {
			r.Body = slowBody{r.Body}
		}
		proxy.ServeHTTP(w, r)
	}))
	server.Listener = slowListener{server.Listener}
	server.Start()
	t.Cleanup(server.Close)
	layer := make([]byte, 256<<10)
	for i := range layer {
		layer[i] = byte(i * i >> 7)
	}
	_, host, _ := strings.Cut(server.URL, "://")
	start := time.Now()
	status, said := inProcess(t.Context(), "copy", cacheWith(t, layer, "gzip"), "docker://"+host+"/stalled:slow",
		"--tls-verify=false", "--retry", "0", "--idle-timeout", idle.String(), "--jobs", "1")
	took := time.Since(start)
	if status != exitDone {
		t.Errorf("status %d after %v: %s", status, took, said)
	}
	if took < 3*idle/2 {
		t.Errorf("it took %v, which is not slow", took)
	}
}

// slowBody is read as it would come over a slow line.
type slowBody struct{ io.ReadCloser }

func (s slowBody) Read(p []byte) (int, error) {
	time.Sleep(50 * time.Millisecond)
	return s.ReadCloser.Read(p[:min(len(p), 8<<10)])
}
