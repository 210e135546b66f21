package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// TestPruneForeseesGC says of every cache in the corpus, alone and beside others, that --gc removes and keeps what a dry run says of it.
func TestPruneForeseesGC(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(corpus)
	if err != nil {
		t.Fatal(err)
	}
	rules := [][]string{{"--leaves"}, {"--keep-bytes", "90KB"}, {"--keep-records", "12"}, {"--fit"}, {"--leaves", "--keep-since", "24h"}}
	for i, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			t.Parallel()
			for n := range quicktest.Rounds(1, len(rules)) { // others with each cache
				rule := rules[(i+n)%len(rules)]
				wantForeseen(t, corpusCopy(t, entry.Name()), rule)
				wantForeseen(t, crowded(t, entry.Name()), rule)
			}
		})
	}
}

// corpusCopy returns a copy of a cache of the corpus.
func corpusCopy(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(corpus, name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// crowded returns a layout with a cache under two tags, another one, something in its place already, and what was left behind.
func crowded(t *testing.T, name string) string {
	t.Helper()
	dir := corpusCopy(t, name)
	for _, args := range [][]string{
		{"copy", filepath.Join(corpus, "merge-small2-fresh"), "oci:" + dir + ":other"},
		{"copy", filepath.Join(corpus, "merge-small2-fresh"), "oci:" + dir + ":pruned"},
		{"tag", "oci:" + dir + ":other", "twin"},
		{"prune", "oci:" + dir + ":pruned", "--leaves"},
		{"rm", "oci:" + dir + ":pruned"},
	} {
		var stderr bytes.Buffer
		if status := run(args, &bytes.Buffer{}, &stderr); status != exitDone {
			t.Fatalf("%v: %s", args, &stderr)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".ocicache", "tmp-left"), []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wantForeseen prunes a layout, and says that a dry run has told what gc does then, and whether it does anything.
func wantForeseen(t *testing.T, dir string, rule []string) {
	t.Helper()
	args := append([]string{"prune", dir, "--gc", "--json", "--keep-since", "0s"}, rule...)
	foreseen, status := prunedGC(t, append(args, "--dry-run"))
	done, doneStatus := prunedGC(t, args)
	if foreseen != nil {
		foreseen.DryRun = false
	}
	was, _ := json.MarshalIndent(foreseen, "", " ")
	is, _ := json.MarshalIndent(done, "", " ")
	if status != doneStatus || !bytes.Equal(was, is) {
		t.Errorf("%v: foreseen, status %d: %s\ndone, status %d: %s", args, status, was, doneStatus, is)
	}
}

// prunedGC returns what a run of prune says of gc, nil where it says nothing.
func prunedGC(t *testing.T, args []string) (*layout.GCResult, int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := run(args, &stdout, &stderr)
	var result struct {
		GC *layout.GCResult `json:"gc"`
	}
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	return result.GC, status
}
