package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/registrytest"
)

// killsVariable says how often each of these tests kills a process, instead of a few times.
const killsVariable = "OCICACHE_TEST_KILLS"

func kills(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv(killsVariable)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", killsVariable, err)
	}
	return n
}

// killedCache has many blobs, so that there are many points between which something can end.
const killedCache = "../../testdata/caches/many-docker-list-gzip"

// runOf runs ocicache to its end and returns how long that took.
func runOf(t *testing.T, args ...string) time.Duration {
	t.Helper()
	start := time.Now()
	out, err := exec.CommandContext(t.Context(), "ocicache", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ocicache %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return time.Since(start)
}

// killOf runs ocicache and kills it after a while. It reports whether that was before its end.
func killOf(t *testing.T, after time.Duration, args ...string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ocicache", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // at any time, so nothing can be waited for
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.Exited()) {
		t.Fatalf("ocicache %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return err != nil
}

// killCases are the commands that are killed. {registry} is a repository that has the killedCache.
var killCases = []powerCut{
	{name: "convert in place", prepare: copyOf("many-docker-list-gzip", "cache"), args: in("convert", "{}/cache", "--to", "artifact"), judge: layoutJudge("cache")},
	{name: "recompress in place", alike: true, prepare: copyOf("docker-list-gzip", "cache"), args: in("convert", "{}/cache", "--compression", "zstd"), judge: layoutJudge("cache")},
	{name: "sync to a new layout", alike: true, prepare: nothing, args: in("sync", killedCache, "{}/far"), judge: layoutJudge("far")},
	{name: "sync to a layout", prepare: copyOf("artifact-gzip", "far"), args: in("sync", corpus+"/multi-tag", "{}/far"), judge: layoutJudge("far")},
	{name: "copy from a registry", prepare: nothing, args: in("copy", "{registry}", "{}/far", "--tls-verify=false"), judge: layoutJudge("far")},
	{name: "merge", alike: true, prepare: nothing, args: in("merge", killedCache, corpus+"/merge-small2-fresh", "{}/far", "--compression", "zstd"), judge: layoutJudge("far")},
	{name: "merge in place", prepare: copyOf("artifact-gzip", "cache"), args: in("merge", "{}/cache", killedCache, "{}/cache"), judge: layoutJudge("cache")},
	{name: "prune", alike: true, prepare: copyOf("many-docker-list-gzip", "cache"), args: in("prune", "{}/cache", "--leaves"), judge: layoutJudge("cache")},
	{name: "prune and gc", prepare: copyOf("many-docker-list-gzip", "cache"), args: in("prune", "{}/cache", "--leaves", "--gc", "--keep-since", "0s"), judge: layoutJudge("cache")},
	{name: "gc", prepare: copyOf("stale-blobs", "cache"), args: in("gc", "{}/cache", "--keep-since", "0s"), judge: layoutJudge("cache")},
	{name: "repair a doubled tag", alike: true, prepare: broken("many-docker-list-gzip", "cache", "doubled"), args: in("repair", "{}/cache", "--write"), judge: mendJudge{"cache"}},
	{name: "repair index.json", prepare: broken("many-docker-list-gzip", "cache", "doubled", "odd"), args: in("repair", "{}/cache", "--write"), judge: mendJudge{"cache"}},
	{name: "unpack", prepare: packedOf(killedCache, "in.tar"), args: in("unpack", "{}/in.tar", "{}/far"), judge: layoutJudge("far")},
	{name: "pack", alike: true, prepare: nothing, args: in("pack", killedCache, "{}/cache.tar"), judge: archiveJudge{}},
	{name: "pack over a file", prepare: packed("cache.tar"), args: in("pack", killedCache, "{}/cache.tar", "--overwrite"), judge: archiveJudge{}},
	{
		name: "pack, changed, over a file", alike: true, prepare: packed("cache.tar"),
		args:  in("pack", corpus+"/artifact-gzip", "{}/cache.tar", "--overwrite", "--compression", "zstd"),
		judge: archiveJudge{},
	},
	{
		name: "pack in volumes over volumes", prepare: packed("cache.tar", "--volume-size", "20KB", "--parity", "1"),
		args:  in("pack", killedCache, "{}/cache.tar", "--overwrite", "--volume-size", "100KB", "--parity", "2"),
		judge: archiveJudge{},
	},
}

// TestKilled kills each command at any time. What is left is the state before or the one after; the command run again ends
// right, and leaves nothing else.
func TestKilled(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{TakesLists: true})
	repository := "docker://" + server.Host + "/killed:latest"
	runOf(t, "copy", killedCache, repository, "--tls-verify=false")
	for i, k := range drawn(killCases) {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			words := k.args
			k.args = func(dir string) []string {
				line := append(words(dir), "--progress", "none")
				for i, arg := range line {
					line[i] = strings.ReplaceAll(arg, "{registry}", repository)
				}
				return line
			}
			k.kill(t, rand.New(rand.NewPCG(4, uint64(i))))
		})
	}
}

// kill runs the command to its end, and then kills it again and again.
func (p *powerCut) kill(t *testing.T, random *rand.Rand) {
	t.Helper()
	pristine, whole := t.TempDir(), t.TempDir()
	p.prepare(t, pristine)
	before, hits := readTree(t, pristine), 0
	if err := os.CopyFS(whole, os.DirFS(pristine)); err != nil {
		t.Fatal(err)
	}
	took := runOf(t, p.args(whole)...)
	after := readTree(t, whole)
	times := kills(t, 1)
	for range times {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(pristine)); err != nil {
			t.Fatal(err)
		}
		if killOf(t, time.Duration(random.Int64N(int64(took))), p.args(dir)...) {
			hits++
		}
		left := readTree(t, dir)
		err := p.judge.look(left, before, after, false)
		if err == nil {
			err = p.try(t, dir, before, after)
		}
		if err != nil {
			t.Fatalf("%s was left: %v", left, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d were killed before their end", hits, times)
	if hits == 0 && times > 20 { // of a few, each may have been too late
		t.Error("none was killed before its end")
	}
}
