//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestExplain changes a build in one place, lets BuildKit build it with the cache of the build before, and wants every
// verdict of explain to be what BuildKit did.
func TestExplain(t *testing.T) {
	needOcicache(t)
	base := contextDir(t, "small")
	dir := t.TempDir()
	cacheDir, old := filepath.Join(dir, "cache"), filepath.Join(dir, "old.json")
	explainBuild(t, old, build{Context: base, Exports: []string{"type=local,mode=max,dest=" + cacheDir}})
	minDir := filepath.Join(dir, "min")
	explainBuild(t, filepath.Join(dir, "min.json"), build{Context: base, Exports: []string{"type=local,mode=min,dest=" + minDir}})
	for name, change := range map[string]struct{ file, from, to string }{
		"nothing": {"Dockerfile", "", ""},
		"command": {"Dockerfile", "cat /work/a.txt /work/a.txt", "cat /work/a.txt"},
		"file":    {"src/b.txt", "", "more\n"},
		"mount":   {"Dockerfile", "target=/in cat /in/b1", "target=/in,rw cat /in/b1"},
		"link":    {"Dockerfile", "COPY --link src/dir", "COPY src/dir"},
		"order":   {"Dockerfile", "COPY --from=b1 /out /out\nCOPY --from=b2 /data/f /f", "COPY --from=b2 /data/f /f\nCOPY --from=b1 /out /out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := copyDir(t, base)
			changeFile(t, filepath.Join(changed, change.file), change.from, change.to)
			provenance := filepath.Join(t.TempDir(), "new.json")
			exported := filepath.Join(t.TempDir(), "new")
			truth := explainBuild(t, provenance, build{
				Context: changed, Imports: []string{localCache(cacheDir, defaultTag)}, Exports: []string{"type=local,mode=max,dest=" + exported},
			})
			args := []string{"explain", cacheDir, "--why", "--provenance", provenance, "--old-provenance", old, "--context", changed}
			sure := requireVerdicts(t, truth, args...)
			if measured := requireVerdicts(t, truth, append(args, "--new-cache", exported)...); measured != len(truth) || sure < 8 {
				t.Errorf("of %d steps %d are sure, and %d with the new cache; want 8 and all", len(truth), sure, measured)
			}

			// Of a cache of mode=min, steps without a result run where another one needs them.
			truth = explainBuild(t, provenance, build{
				Context: changed, Imports: []string{localCache(minDir, defaultTag)}, Exports: []string{"type=local,mode=min,dest=" + exported},
			})
			args[1] = minDir
			sure = requireVerdicts(t, truth, args...)
			if measured := requireVerdicts(t, truth, append(args, "--new-cache", exported)...); measured < sure {
				t.Errorf("mode=min: of %d steps %d are sure, and %d with the new cache", len(truth), sure, measured)
			}
			t.Logf("mode=min: of %d steps %d are sure", len(truth), sure)
		})
	}
}

// TestExplainSameSteps has two stages with equal steps on files that come to be the same: BuildKit runs one of each two, whichever, and
// shows the other as cached. No verdict on them is sure; where their files differ, all are.
func TestExplainSameSteps(t *testing.T) {
	needOcicache(t)
	base := t.TempDir()
	writeFiles(t, base, map[string]string{"f/x": "1", "gy/x": "2", "Dockerfile": `FROM scratch AS f
COPY f/x /in
WORKDIR /w
FROM scratch AS gy
COPY gy/x /in
WORKDIR /w
FROM scratch
COPY --from=f /in /f
COPY --from=gy /in /gy
`})
	dir := t.TempDir()
	cacheDir, provenance := filepath.Join(dir, "cache"), filepath.Join(dir, "provenance.json")
	explainBuild(t, provenance, build{Context: base, Exports: []string{"type=local,mode=max,dest=" + cacheDir}})
	for name, test := range map[string]struct {
		files     map[string]string
		ran, sure int // of the four equal steps
	}{
		"alike": {map[string]string{"f/x": "3", "gy/x": "3"}, 2, 0}, "differ": {map[string]string{"f/x": "3", "gy/x": "4"}, 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			changed := copyDir(t, base)
			writeFiles(t, changed, test.files)
			truth := explainBuild(t, provenance, build{Context: changed, Imports: []string{localCache(cacheDir, defaultTag)}})
			ran := 0
			for _, cached := range truth {
				if !cached {
					ran++
				}
			}
			if ran != test.ran+2 { // what takes the files always runs
				t.Errorf("BuildKit ran %d steps: %v; want %d, and two more", ran, truth, test.ran)
			}
			if sure := requireVerdicts(t, truth, "explain", cacheDir, "--why", "--provenance", provenance, "--context", changed); sure != test.sure {
				t.Errorf("%d verdicts are sure, want %d", sure, test.sure)
			}
		})
	}
}

// writeFiles writes files into a directory.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// changeFile replaces text in a file; "" is the end of it.
func changeFile(t *testing.T, name, from, to string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data) + to
	if from != "" {
		text = strings.Replace(string(data), from, to, 1)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// explainBuild builds on a fresh daemon, writes the provenance that its history keeps to a file, and returns for each step
// by its ID whether it was cached.
func explainBuild(t *testing.T, provenance string, b build) map[string]bool {
	t.Helper()
	truth := map[string]bool{}
	err := withDaemon(t.Context(), func(d *daemon) error {
		log, err := d.ctl(t.Context(), b.args()...)
		if err != nil {
			return err
		}
		predicate, err := d.lastProvenance(t.Context())
		if err != nil {
			return err
		}
		if err := os.WriteFile(provenance, predicate, 0o600); err != nil {
			return err
		}
		return readTruth(truth, log, predicate)
	})
	if err != nil {
		t.Fatal(err)
	}
	return truth
}

// ctl calls buildctl and returns what it prints.
func (d *daemon) ctl(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, env.buildctl, append([]string{"--addr", d.address()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("buildctl %s: %w\n%s", args[0], err, out)
	}
	return out, nil
}

// lastProvenance returns the provenance of the one build that a daemon has in its history.
func (d *daemon) lastProvenance(ctx context.Context) ([]byte, error) {
	out, err := d.ctl(ctx, "debug", "histories", "--format", "{{json .}}")
	if err != nil {
		return nil, err
	}
	var event struct {
		Record struct {
			Result struct {
				Attestations []struct {
					Digest string `json:"digest"`
				}
			}
		} `json:"record"`
	}
	if err := json.Unmarshal(out, &event); err != nil || len(event.Record.Result.Attestations) == 0 {
		return nil, fmt.Errorf("the history has no provenance: %w\n%s", err, out)
	}
	return d.ctl(ctx, "debug", "get", event.Record.Result.Attestations[0].Digest)
}

// readTruth reads the log of a build. Sources are left out, of which it does not say whether they are cached.
func readTruth(truth map[string]bool, log, predicate []byte) error {
	var p struct {
		BuildDefinition struct {
			InternalParameters struct {
				BuildConfig struct {
					DigestMapping map[string]string `json:"digestMapping"`
				} `json:"buildConfig"`
			} `json:"internalParameters"`
		} `json:"buildDefinition"`
	}
	if err := json.Unmarshal(predicate, &p); err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct{ Vertexes []vertex }
		if json.Unmarshal(lines.Bytes(), &event) != nil {
			continue
		}
		for _, v := range event.Vertexes {
			id, ok := p.BuildDefinition.InternalParameters.BuildConfig.DigestMapping[v.Digest]
			if ok && (stepName.MatchString(v.Name) || strings.Contains(v.Name, "LINK COPY")) {
				truth[id] = truth[id] || v.Cached
			}
		}
	}
	return lines.Err()
}

// requireVerdicts calls explain, and requires that no verdict is wrong. It returns how many are sure.
func requireVerdicts(t *testing.T, truth map[string]bool, args ...string) int {
	t.Helper()
	c := runOcicache(t, append(args, "--json")...)
	if c.Status != 0 && c.Status != 3 {
		t.Fatalf("exit status %d\n%s", c.Status, c.Stderr)
	}
	var report struct {
		Steps []struct{ ID, Text, Verdict string }
	}
	if err := json.Unmarshal([]byte(c.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	sure := 0
	for _, s := range report.Steps {
		cached, ok := truth[s.ID]
		if !ok || slices.Contains([]string{"maybe", "unknown"}, s.Verdict) {
			continue
		}
		sure++
		if (s.Verdict != "miss") != cached {
			t.Errorf("%s %s: explain says %s, BuildKit that it was cached: %t", s.ID, s.Text, s.Verdict, cached)
		}
	}
	return sure
}
