//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// line is one of a state, and when its shard printed it.
type line struct {
	printed time.Time

	Event, Source, Tag, Target, From, To, Cause, Error string
	Shard                                              string
	Left                                               int
}

// state reads what a pod's shard said.
func (b *bed) state(t *testing.T, p pod) []line {
	t.Helper()
	var lines []line
	for text := range strings.Lines(b.logs(t, p)) {
		part := strings.SplitN(strings.TrimSuffix(text, "\n"), " ", 4) // the time, the stream, whether it is whole, and the line
		if len(part) < 4 || part[1] != "stdout" {
			continue
		}
		var l line
		parse(t, part[3], &l)
		var err error
		if l.printed, err = time.Parse(time.RFC3339Nano, part[0]); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

// lines are those of a pod's state that have one of these events.
func (b *bed) lines(t *testing.T, p pod, events ...string) []line {
	t.Helper()
	return slices.DeleteFunc(b.state(t, p), func(l line) bool { return !slices.Contains(events, l.Event) })
}

// finished are the lines that say that a cache is at its target.
func (b *bed) finished(t *testing.T, p pod) []line {
	t.Helper()
	return b.lines(t, p, "done", "there")
}

// checkTruth says that what pods say to be at its target is there, and that no two shards have the same. It returns what those that ended well have.
func (b *bed) checkTruth(t *testing.T, directory string, pods []pod) map[string]bool {
	t.Helper()
	shard, whole := map[string]int{}, map[string]bool{}
	for _, p := range pods {
		lines := b.state(t, p)
		if len(lines) == 0 {
			t.Errorf("index %d: %s has no state", p.index, p.Name)
			continue
		}
		succeeded := p.exitStatus() == 0
		if last := lines[len(lines)-1]; succeeded && (last.Event != "ended" || last.Left != 0) {
			t.Errorf("index %d succeeded with %+v", p.index, last)
		}
		for _, l := range b.finished(t, p) {
			repository, ok := strings.CutPrefix(l.Target, "docker://"+b.target.host+"/"+directory+"/")
			repository, isLatest := strings.CutSuffix(repository, ":latest")
			if !ok || !isLatest || l.To != b.want[repository] {
				t.Errorf("index %d says of %s that it is %s, want %s", p.index, l.Target, l.To, b.want[repository])
			}
			if root := b.root(t, directory+"/"+repository); root != l.To {
				t.Errorf("index %d says of %s that it is %s, and it is %s", p.index, l.Target, l.To, root)
			}
			if other, ok := shard[repository]; ok && other != p.index {
				t.Errorf("%s is in the shards %d and %d", repository, other, p.index)
			}
			shard[repository] = p.index
			whole[repository] = whole[repository] || succeeded
		}
	}
	return whole
}

// checkStates is checkTruth for all pods of a Job that is complete: together they have everything.
func (b *bed) checkStates(t *testing.T, directory string, pods []pod) {
	t.Helper()
	whole := b.checkTruth(t, directory, pods)
	for _, repository := range b.caches {
		if !whole[repository] {
			t.Errorf("no shard that succeeded has %s", repository)
		}
	}
}

// root is what a repository at the target has, or nothing.
func (b *bed) root(t *testing.T, repository string) string {
	t.Helper()
	header, err := b.target.get(t, "/v2/"+repository+"/manifests/latest")
	if err != nil {
		t.Logf("at the target: %v", err)
		return ""
	}
	return header.Get("Docker-Content-Digest")
}

// checkTarget says that every cache is at its target, is what it was to become, and is whole.
func (b *bed) checkTarget(t *testing.T, directory string) {
	t.Helper()
	var group sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, repository := range b.caches {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			path := directory + "/" + repository
			if root := b.root(t, path); root != b.want[repository] {
				t.Errorf("%s is %s, want %s", path, root, b.want[repository])
			}
			b.verify(t, path)
		})
	}
	group.Wait()
}

func (b *bed) verify(t *testing.T, path string) {
	t.Helper()
	args := append([]string{"verify", "docker://" + b.target.host + "/" + path + ":latest", "--progress", "none"}, b.target.flags()...)
	if out, err := exec.CommandContext(t.Context(), b.ocicache, args...).CombinedOutput(); err != nil {
		t.Errorf("verify %s: %v\n%s", path, err, out)
	}
}

// checkReport says that the command of the manifests makes a report of the pods' logs, and that it has everything.
func (b *bed) checkReport(t *testing.T) {
	t.Helper()
	logs := b.kubectl(t, "logs", "-l", "job-name="+jobName, "--tail=-1", "--max-log-requests=100")
	report := output(t, exec.CommandContext(t.Context(), b.ocicache, "migrate", "report", "-"), strings.NewReader(logs))
	first, _, _ := strings.Cut(report, "\n")
	if first != "everything is there, by the state" || !regexp.MustCompile(fmt.Sprintf(`(?m)^caches +%d$`, len(b.caches))).MatchString(report) {
		t.Errorf("the report of %d caches:\n%s", len(b.caches), report)
	}
}

// convert converts a cache as the plan says, without any registry, and returns its root.
func convert(t *testing.T, ocicache, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "layout")
	run(t, ocicache, "convert", dir, out, "--to", "artifact", "--compression", "zstd", "--progress", "none")
	raw, err := os.ReadFile(filepath.Join(out, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Manifests []struct{ Digest string } }
	parse(t, string(raw), &index)
	if len(index.Manifests) != 1 {
		t.Fatalf("%s has %s", out, raw)
	}
	return index.Manifests[0].Digest
}
