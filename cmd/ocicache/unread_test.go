package main

import (
	"bytes"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/internal/registrytest"
)

// unreadable starts a registry with a cache for each of some tags, in a repository that it returns. It does not give the root of v1.
func unreadable(t *testing.T, status int, o registrytest.Options, tags ...string) (server *registrytest.Server, repository string) {
	t.Helper()
	server = registrytest.New(t, o)
	repository = "docker://" + server.Host + "/several"
	var stdout, stderr bytes.Buffer
	for _, tag := range append(tags, "v1") {
		args := []string{"convert", "oci:" + filepath.Join(corpus, "multi-tag") + ":" + tag[:2], repository + ":" + tag, "--to", "artifact", "--tls-verify=false"}
		if status := run(args, &stdout, &stderr); status != exitDone {
			t.Fatal(stderr.String())
		}
	}
	server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/manifests/v1$", Status: status, Times: -1})
	return server, repository
}

// TestUnreadTag says that a tag whose root a registry does not give ends nothing: what can be read is worked on or shown, the other one is
// named with what is wrong with it, and the status is 1.
func TestUnreadTag(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		command string // REPO is the repository
		said    []string
	}{
		{"sync REPO DIR", []string{"v2  copied  sha256:", "v1  FAILED"}},
		{"sync REPO DIR --delete", []string{"v2  copied  sha256:", "v1  FAILED", "not every cache was copied"}},
		{"inspect REPO", []string{"tag v1: NOT READ: ", "tag v2\n  form"}},
		{"ls REPO", []string{"\nv1   invalid ", "\nv2   cache ", "\nv1: "}},
		{"prune REPO --keep-records 20", []string{"tag v1: NOT PRUNED: ", "tag v2: nothing to drop\n"}},
		{"repair REPO", []string{"tag v1: NOT REPAIRED: ", "tag v2: no damage found"}},
		{"verify REPO", []string{"tag v1: NOT VERIFIED: ", ": 1 cache verified"}},
		{"rm REPO --match *", []string{"v2   NOT DELETED", ": 0 of 1 cache deleted (kept because the registry did not say what they point to: 1)"}},
	} {
		for _, status := range []int{http.StatusServiceUnavailable, http.StatusForbidden} {
			t.Run(test.command+" "+http.StatusText(status), func(t *testing.T) {
				t.Parallel()
				try := func(format string) (string, string) {
					_, repository := unreadable(t, status, registrytest.Options{}, "v2")
					command := strings.NewReplacer("REPO", repository, "DIR", filepath.Join(t.TempDir(), "dir")).Replace(test.command)
					var stdout, stderr bytes.Buffer
					if got := run(strings.Fields(command+" --tls-verify=false --retry 0 "+format), &stdout, &stderr); got != exitFailed {
						t.Errorf("status %d", got)
					}
					return stdout.String(), stderr.String()
				}
				stdout, stderr := try("")
				for _, want := range test.said {
					if !strings.Contains(squeezed(stdout), squeezed(want)) {
						t.Errorf("it does not say %q:\n%s", want, stdout)
					}
				}
				if !strings.Contains(stderr, "v1") || strings.Count(stderr, "ocicache: error: ") != 1 {
					t.Errorf("the error: %s", stderr)
				}
				if stdout, _ := try("--json"); !strings.Contains(stdout, "read the manifest v1") {
					t.Errorf("as JSON: %s", stdout)
				}
			})
		}
	}
}

// squeezed writes runs of spaces as one.
func squeezed(text string) string {
	for strings.Contains(text, "  ") {
		text = strings.ReplaceAll(text, "  ", " ")
	}
	return text
}

// TestUnreadTagBeside says that a tag which is not there is told from one that can't be read, and that nothing is chosen for the user where
// what can't be read may be meant.
func TestUnreadTagBeside(t *testing.T) {
	t.Parallel()
	_, repository := unreadable(t, http.StatusInternalServerError, registrytest.Options{}, "v2")
	for command, want := range map[string]struct {
		status int
		says   string
	}{
		"inspect REPO:gone":            {exitNotFound, `no cache has the tag "gone" (available: v2)`},
		"diff REPO:v2 REPO:gone":       {exitNotFound, `no cache has the tag "gone" (available: v2)`},
		"diff REPO:v2 REPO":            {exitFailed, "read the manifest v1: "},
		"merge REPO:v2 REPO REPO:both": {exitFailed, "read the manifest v1: "},
	} {
		command = strings.ReplaceAll(command, "REPO", repository)
		var stdout, stderr bytes.Buffer
		got := run(strings.Fields(command+" --tls-verify=false --retry 0"), &stdout, &stderr)
		if got != want.status || !strings.Contains(stderr.String(), want.says) || stdout.Len() > 0 {
			t.Errorf("%s: status %d: %s%s", command, got, &stdout, &stderr)
		}
	}
}

// TestUnreadTagStays says that what can't be read is never deleted: not as surplus, and not with a tag that names the same root in a
// registry that deletes roots. So nothing is, as long as something can't be read.
func TestUnreadTagStays(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"sync": "sync SRC REPO --to artifact --delete --max-delete 3",
		"rm":   "rm REPO --match v1*",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, repository := unreadable(t, http.StatusServiceUnavailable, registrytest.Options{Deletes: registrytest.DeletesTogether}, "v2", "v1-too")
			src := filepath.Join(t.TempDir(), "src")
			var stdout, stderr bytes.Buffer
			if got := run([]string{"copy", "oci:" + filepath.Join(corpus, "multi-tag") + ":v2", "oci:" + src + ":v2"}, &stdout, &stderr); got != exitDone {
				t.Fatal(stderr.String())
			}
			command := strings.NewReplacer("SRC", src, "REPO", repository).Replace(command) + " --tls-verify=false --retry 0"
			stdout.Reset()
			if got := run(strings.Fields(command), &stdout, &stderr); got != exitFailed {
				t.Errorf("status %d", got)
			}
			if !strings.Contains(stdout.String(), "v1-too") || !strings.Contains(stderr.String(), `"v1"`) {
				t.Errorf("it said %s%s", &stdout, &stderr)
			}
			server.Heal()
			stdout.Reset()
			if got := run([]string{"ls", repository, "--tls-verify=false"}, &stdout, &stderr); got != exitDone || !strings.Contains(stdout.String(), "\nv1 ") {
				t.Errorf("status %d: %s", got, &stdout)
			}
			if !strings.Contains(stdout.String(), "v1-too") {
				t.Errorf("it is deleted: %s", &stdout)
			}
		})
	}
}

// TestUnreadAge says that a cache whose age a registry does not let be read is kept, and that this is a failure where ages decide.
func TestUnreadAge(t *testing.T) {
	t.Parallel()
	server, repository := unreadable(t, http.StatusServiceUnavailable, registrytest.Options{}, "v2")
	server.Heal()
	server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Status: http.StatusServiceUnavailable, Times: -1})
	for _, flags := range []string{"--older-than 1h", "--keep 1", "--keep 1 --dry-run"} {
		var stdout, stderr bytes.Buffer
		got := run(strings.Fields("rm "+repository+" --tls-verify=false --retry 0 "+flags), &stdout, &stderr)
		if got != exitFailed || !strings.Contains(stderr.String(), `the tag "v2" is kept because its age can't be read: `) {
			t.Errorf("%s: status %d: %s%s", flags, got, &stdout, &stderr)
		}
	}
}
