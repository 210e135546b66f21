package main

import (
	"bytes"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// largestLayer is the largest of artifact-gzip.
const largestLayer = "74919df25600264c5df2c2c472d701b69ab78ec71391a6d8b280838244936513"

// TestDamagedInRegistry follows what is said of a layer that a registry gives back with other bytes, or with fewer: verify names a way that finds it, and
// repair does not call whole what it did not read, nor done what it did not do.
func TestDamagedInRegistry(t *testing.T) {
	t.Parallel()
	for what, fault := range map[string]registrytest.Fault{"flipped": {Flip: true}, "truncated": {Length: -1000}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			damagedInRegistry(t, fault)
		})
	}
}

// copiedToRegistry returns a registry, and where a cache was copied from and to there.
func copiedToRegistry(t *testing.T) (server *registrytest.Server, source, ref string) {
	t.Helper()
	server = registrytest.New(t, registrytest.Options{})
	source, ref = filepath.Join(corpus, "artifact-gzip"), "docker://"+server.Host+"/cache:main"
	var stdout, stderr bytes.Buffer
	if status := run([]string{"copy", source, ref, "--tls-verify=false"}, &stdout, &stderr); status != exitDone {
		t.Fatal(stderr.String())
	}
	return server, source, ref
}

func damagedInRegistry(t *testing.T, fault registrytest.Fault) {
	t.Helper()
	server, source, ref := copiedToRegistry(t)
	var stdout, stderr bytes.Buffer
	fault.Method, fault.Path, fault.Times = http.MethodGet, "/blobs/sha256:"+largestLayer, -1
	server.Inject(fault)
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"verify", ref}, exitFound, "remedy: 'ocicache repair " + ref + " --deep --tls-verify=false' shows what would be lost without it; with --write it drops that, if anything is left; to get it back intact"},
		{[]string{"verify", ref}, exitFound, "then restores it; or export the cache to a repository on another registry"},
		{[]string{"repair", ref}, exitDone, "the registry was only asked whether it has the layers; to read them, use --deep"},
		{[]string{"repair", ref, "--deep"}, exitFound, "the layer is damaged; it is dropped, with the results that need it"},
		{[]string{"repair", ref, "--deep", "--base", source}, exitFound, "NOT REPAIRED, its tag was not moved; found:\n  can't be repaired: blob-damaged: layer: the layer is damaged; a base has it intact, but the registry keeps its damaged copy"},
	} {
		stdout.Reset()
		stderr.Reset()
		status := run(append(tt.args, "--tls-verify=false", "--progress", "none"), &stdout, &stderr)
		if status != tt.status || !strings.Contains(stdout.String(), tt.want) {
			t.Errorf("%v: status %d, %s%s", tt.args, status, &stdout, &stderr)
		}
	}
	stderr.Reset()
	if status := run([]string{"copy", ref, filepath.Join(t.TempDir(), "copied"), "--tls-verify=false"}, &stdout, &stderr); status != exitFailed ||
		!strings.Contains(stderr.String(), "'ocicache repair "+ref+" --deep --tls-verify=false' shows what would be lost") {
		t.Errorf("status %d, %s", status, &stderr)
	}
}

// TestDamagedInDestination brings a cache to a registry that takes a truncated layer again, and keeps what it had.
func TestDamagedInDestination(t *testing.T) {
	t.Parallel()
	server, source, ref := copiedToRegistry(t)
	var stdout, stderr bytes.Buffer
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		server.Inject(registrytest.Fault{Method: method, Path: "/blobs/sha256:" + largestLayer, Length: -1000, Times: -1})
	}
	for _, args := range [][]string{{"sync", source, ref, "--check"}, {"sync", source, ref, "--deep"}, {"copy", source, ref}} {
		stderr.Reset()
		status := run(append(args, "--tls-verify=false", "--progress", "none"), &stdout, &stderr)
		if said := stderr.String(); status != exitFailed || !strings.Contains(said, "has a damaged copy of a blob and won't replace it") ||
			!strings.Contains(said, "use a repository on another registry, then run it again") {
			t.Errorf("%v: status %d, %s", args, status, said)
		}
	}
	server.AssertFired(t)
}

// TestManyProblems finds remedies for as many problems as many tags of one root have, and for 32 small parts of them, one after the other.
// Linear work takes as long, quadratic work 32 times as long. The quickest of some tries counts.
func TestManyProblems(t *testing.T) {
	t.Parallel()
	const small, factor, most, tries = 1500, 32, 8, 5
	place := &places.Opened{Reference: layout.Reference{Transport: layout.TransportPath, Path: "dir"}}
	remedy := func(count, times int) time.Duration {
		problems := make([]buildcache.Problem, count)
		begun := time.Now()
		for range times {
			for i := range problems {
				problems[i] = buildcache.NewProblem(buildcache.RootInvalid, "root", "")
				problems[i].Cache = strconv.Itoa(i)
			}
			new(app).fitRemedies(place, problems)
		}
		return time.Since(begun)
	}
	base, grown := remedy(small, factor), remedy(small*factor, 1)
	for try := 1; try < tries && grown > most*base; try++ {
		base, grown = min(base, remedy(small, factor)), min(grown, remedy(small*factor, 1))
	}
	if grown > most*base {
		t.Errorf("%d problems take %.0f times as long as %d times %d", small*factor, float64(grown)/float64(base), factor, small)
	}
}

// TestBrokenRegistry says of a registry that fails what it answered, and what may be behind it, unless it is out of service.
func TestBrokenRegistry(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{500: "its copy of that may be damaged", 502: "its copy of that may be damaged", 503: ""} {
		server, _, ref := copiedToRegistry(t)
		server.Inject(registrytest.Fault{Path: "/manifests/", Times: -1, Status: status})
		var stdout, stderr bytes.Buffer
		got := run([]string{"verify", ref, "--tls-verify=false", "--retry", "0"}, &stdout, &stderr)
		answered := "it answered " + strconv.Itoa(status) + " " + http.StatusText(status)
		said := stderr.String()
		if got != exitFailed || !strings.Contains(said, answered) || !strings.Contains(said, want) || want == "" && strings.Contains(said, "damaged") {
			t.Errorf("%d: status %d: %s", status, got, said)
		}
	}
}

// TestBrokenOff says of a connection that always breaks off that it does, and nothing of the blob, however little came.
func TestBrokenOff(t *testing.T) {
	t.Parallel()
	for _, part := range []float64{0.00001, 0.5} {
		server, _, ref := copiedToRegistry(t)
		server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/sha256:" + largestLayer, Times: -1, CutAt: part})
		for _, args := range [][]string{{"verify", ref}, {"verify", ref, "--deep"}, {"repair", ref, "--deep"}, {"inspect", ref}} {
			if args[0] == "inspect" && part > 0.1 {
				continue // it reads no more than what came
			}
			var stdout, stderr bytes.Buffer
			got := run(append(args, "--tls-verify=false", "--retry", "0"), &stdout, &stderr)
			if got != exitFailed || !strings.Contains(stderr.String(), "broke off each time") || stdout.Len() > 0 {
				t.Errorf("%v, after %v: status %d: %s%s", args, part, got, stdout.String(), stderr.String())
			}
		}
	}
}

// TestFailedRequests suspects a registry's copy only where it was asked for one, and says where that breaks off.
func TestFailedRequests(t *testing.T) {
	t.Parallel()
	const ours, disk, again = "copy of that may be damaged", "its disk may be full", "at the same byte"
	for name, test := range map[string]struct {
		fault   registrytest.Fault
		command string
		want    []string
		not     string
	}{
		"blob":          {registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Status: 500}, "verify", []string{ours}, disk},
		"manifest":      {registrytest.Fault{Method: http.MethodGet, Path: "/manifests/", Status: 500}, "verify", []string{ours}, disk},
		"list of tags":  {registrytest.Fault{Path: "/tags/list", Status: 500}, "ls", []string{"the registry failed"}, ours},
		"config":        {registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Status: 500}, "ls", []string{ours, `tag "main"`}, disk},
		"upload":        {registrytest.Fault{Method: http.MethodPost, Path: "/uploads/", Status: 500}, "copy", []string{disk}, ours},
		"end of upload": {registrytest.Fault{Method: http.MethodPut, Path: "/uploads/", Status: 500}, "copy", []string{disk}, ours},
		"push of root":  {registrytest.Fault{Method: http.MethodPut, Path: "/manifests/", Status: 500}, "copy", []string{disk}, ours},
		"look":          {registrytest.Fault{Method: http.MethodHead, Path: "/blobs/", Status: 500}, "copy", []string{disk}, ours},
		"no answer":     {registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Drop: true}, "verify", []string{"broke off each time"}, again},
		"no upload":     {registrytest.Fault{Method: http.MethodPost, Path: "/uploads/", Drop: true}, "copy", []string{"broke off each time"}, again},
		"cut tags":      {registrytest.Fault{Path: "/tags/list", CutAt: 0.5}, "ls", []string{"broke off each time"}, again},
		"cut manifest":  {registrytest.Fault{Method: http.MethodGet, Path: "/manifests/", CutAt: 0.5}, "verify", []string{again}, disk},
		"cut blob":      {registrytest.Fault{Method: http.MethodGet, Path: "/blobs/sha256:" + largestLayer, CutAt: 0.5}, "verify", []string{again, ": 39661 of 79323 bytes"}, disk},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, source, ref := copiedToRegistry(t)
			test.fault.Times = -1
			server.Inject(test.fault)
			args := []string{test.command, ref}
			switch test.command {
			case "copy":
				args = []string{"copy", source, "docker://" + server.Host + "/another:main"}
			case "ls":
				args[1] = strings.TrimSuffix(ref, ":main")
			}
			var stdout, stderr bytes.Buffer
			got, said := run(append(args, "--tls-verify=false", "--retry", "0"), &stdout, &stderr), stderr.String()
			lacks := func(want string) bool { return !strings.Contains(said, want) }
			if got != exitFailed || slices.ContainsFunc(test.want, lacks) || strings.Contains(said, test.not) {
				t.Errorf("status %d: %s", got, said)
			}
		})
	}
}
