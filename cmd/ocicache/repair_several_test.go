package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
)

// TestRepairSeveral goes on after a cache that can't be read, and says what was wrong with it, in text and in JSON.
func TestRepairSeveral(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{})
	ref := "docker://" + server.Host + "/several"
	var stdout, stderr bytes.Buffer
	if status := run([]string{"sync", filepath.Join(corpus, "multi-tag"), ref, "--to", "artifact", "--tls-verify=false"}, &stdout, &stderr); status != exitDone {
		t.Fatal(stderr.String())
	}
	const configOfV1 = "c472424c949b9a563348fc63c24264be477d69ba6ef7311ec7d973ca490ad2bc"
	server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/sha256:" + configOfV1, Status: http.StatusForbidden, Times: -1})
	for _, format := range []string{"--json", "--json=false"} {
		stdout.Reset()
		stderr.Reset()
		status := run([]string{"repair", ref, "--tls-verify=false", "--progress", "none", format}, &stdout, &stderr)
		if status != exitFailed || !strings.Contains(stderr.String(), "1 cache of 2 failed") {
			t.Errorf("%s: status %d: %s", format, status, &stderr)
		}
		if format != "--json" {
			if text := stdout.String(); !strings.Contains(text, "tag v1: NOT REPAIRED: ") || !strings.Contains(text, "tag v2: no damage found") {
				t.Error(text)
			}
			continue
		}
		var result repairResult
		if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
			t.Fatal(err)
		}
		if len(result.Caches) != 2 || result.Caches[0].Error == "" || result.Caches[1].Error != "" || result.Error != "" {
			t.Errorf("%s", &stdout)
		}
	}
}

// lockedForThird is a directory whose user presses Ctrl-C before the third tag is repaired.
type lockedForThird struct {
	*layout.Dir

	cancel context.CancelFunc
	locks  *int
}

func (l lockedForThird) Lock(ctx context.Context) (func() error, error) {
	const before = 2 // for the list of tags
	if *l.locks++; *l.locks > before+2 {
		l.cancel()
	}
	return l.Dir.Lock(ctx)
}

// TestRepairInterrupted says of a damaged blob that two tags share, and that went with the second, no more that it is kept.
func TestRepairInterrupted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tags")
	var stdout, stderr bytes.Buffer
	for _, args := range [][]string{
		{"copy", filepath.Join(corpus, "artifact-gzip"), "oci:" + dir + ":one"},
		{"tag", "oci:" + dir + ":one", "two"},
		{"copy", filepath.Join(corpus, "docker-list-zstd"), "oci:" + dir + ":three"}, // which shares no blob with these
	} {
		if status := run(args, &stdout, &stderr); status != exitDone {
			t.Fatal(stderr.String())
		}
	}
	if err := os.Truncate(filepath.Join(dir, "blobs", "sha256", largestLayer), 10); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout.Reset()
	a := &app{stdout: &stdout, stderr: &stderr, opens: func(src layout.Source) layout.Source {
		opened, ok := src.(*layout.Dir)
		if !ok {
			t.Fatalf("%s is not a directory", src)
		}
		return lockedForThird{opened, cancel, new(int)}
	}}
	status := a.run(ctx, []string{"repair", dir, "--write"})
	said := stdout.String()
	if status != exitInterrupted || strings.Count(said, ": repaired") != 2 || strings.Contains(said, "three") || strings.Contains(said, "kept because") {
		t.Errorf("status %d: %s%s", status, said, &stderr)
	}
}

// discardedLate is a directory whose user presses Ctrl-C when a tag was moved to the repaired cache.
type discardedLate struct {
	*layout.Dir

	cancel context.CancelFunc
}

func (d discardedLate) DiscardDamaged(ctx context.Context, blob digest.Digest) (bool, error) {
	d.cancel()
	return d.Dir.DiscardDamaged(ctx, blob)
}

// TestRepairInterruptedLate says of a tag that was moved that it was, though the damaged blob is still there.
func TestRepairInterruptedLate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tags")
	var stdout, stderr bytes.Buffer
	if status := run([]string{"copy", filepath.Join(corpus, "artifact-gzip"), "oci:" + dir + ":one"}, &stdout, &stderr); status != exitDone {
		t.Fatal(stderr.String())
	}
	if err := os.Truncate(filepath.Join(dir, "blobs", "sha256", largestLayer), 10); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout.Reset()
	a := &app{stdout: &stdout, stderr: &stderr, opens: func(src layout.Source) layout.Source {
		opened, ok := src.(*layout.Dir)
		if !ok {
			t.Fatalf("%s is not a directory", src)
		}
		return discardedLate{opened, cancel}
	}}
	status := a.run(ctx, []string{"repair", dir, "--write"})
	if said := stdout.String(); status != exitInterrupted || !strings.Contains(said, "tag one: repaired, root ") || strings.Contains(said, "NOT REPAIRED") {
		t.Errorf("status %d: %s%s", status, said, &stderr)
	}
}
