package main

import (
	"bytes"
	"net/http"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/ocicache/ocicache/internal/registrytest"
)

// TestRetryIsSaid says that a request that is made again is told of in one line: what, why, and when again; where progress is shown and
// where it is not.
func TestRetryIsSaid(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"with progress":    {"copy", filepath.Join(corpus, "artifact-gzip")},
		"without progress": {"ls"},
		"as JSON":          {"ls", "--progress", "json"},
		"not at all":       {"ls", "--progress", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			var stdout, stderr bytes.Buffer
			to := "docker://" + server.Host + "/cache"
			if status := run([]string{"copy", filepath.Join(corpus, "artifact-gzip"), to + ":main", "--tls-verify=false"}, &stdout, &stderr); status != exitDone {
				t.Fatal(stderr.String())
			}
			stderr.Reset()
			server.Inject(registrytest.Fault{Path: "/manifests/|/tags/", Status: http.StatusServiceUnavailable})
			if status := run(append(args, to, "--tls-verify=false"), &stdout, &stderr); status != exitDone {
				t.Fatal(stderr.String())
			}
			want := `(?m)\Aocicache: docker://` + server.Host + `/cache: [^\n]+; trying again in \d\.\d s\n\z`
			switch name {
			case "as JSON":
				want = `(?m)\A\{"event":"retry","verb":"[^"]+","error":"[^\n]+","seconds":[\d.]+\}\n\z`
			case "not at all":
				want = `\A\z`
			}
			if said := progressPattern.ReplaceAll(stderr.Bytes(), nil); !regexp.MustCompile(want).Match(said) {
				t.Errorf("it said %q", said)
			}
		})
	}
}
