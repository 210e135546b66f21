package main

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/registrytest"
)

// TestEndIsSaid says that work which takes over a second ends with how long it took, and what was read, sent and saved; in the way in
// which progress is shown.
func TestEndIsSaid(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{
		"auto": `(?m)^ocicache: took \d\.\d s: read 91 kB, sent 91 kB$`,
		"json": `(?m)^\{"event":"end","seconds":[\d.]+,"read":91454,"sent":91454\}$`,
		"none": `\A\z`,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			server.Inject(registrytest.Fault{Method: "PUT", Path: "/manifests/", Delay: longRun})
			args := []string{
				"copy", filepath.Join(corpus, "artifact-gzip"), "docker://" + server.Host + "/cache:main", "--tls-verify=false", "--progress", mode,
			}
			var stdout, stderr bytes.Buffer
			if status := run(args, &stdout, &stderr); status != exitDone || !regexp.MustCompile(want).Match(stderr.Bytes()) {
				t.Errorf("status %d, it said %q", status, stderr.String())
			}
			stderr.Reset()
			begun := time.Now()
			run(args, &stdout, &stderr) // there is nothing to do
			if time.Since(begun) < longRun && (strings.Contains(stderr.String(), "took") || strings.Contains(stderr.String(), "end")) {
				t.Errorf("of what took no time it said %q", stderr.String())
			}
		})
	}
}
