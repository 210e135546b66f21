package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/internal/registrytest"
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
