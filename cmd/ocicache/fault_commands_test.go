package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
)

// faultCommand is a command that writes, with what there is before it runs. In words, $DIR is the directory of the trial,
// and $REPO a repository that nobody else uses.
type faultCommand struct {
	name    string
	caches  map[string]string // what is copied from testdata/caches, by its name in $DIR
	before  []string          // command lines that run first
	crashed string            // a temporary file in $DIR whose writer is gone
	line    string            // the command line
	// parts says that it has several results, each of which is there or not: several caches, or a receipt as well.
	parts bool
	// missing says that what it can't read may count as missing, of which recovery volumes make good a part.
	missing bool
	// mends says that verify finds something wrong with what was before, and the command as well in what it can't read.
	mends bool
	// lacks are the names of kinds of faults that can't happen to it.
	lacks []string
	// unopened says that the program opens the places without telling (app.opens), as layouts that archives are unpacked to.
	unopened bool
}

// small and other are caches of a few blobs.
const (
	small = "multi-platform"
	other = "merge-small2-fresh"
)

// smallLayer is a blob of small that lies on no other one.
const smallLayer = "blobs/sha256/f23a8837bb0c62b1b5f5fb3b6887e085032e02318aebdd126de9985276d3419a"

// What is not written through a place that app.opens sees, and what writes no files.
var (
	noSink  = []string{"a failing place, when all is done"}
	noFiles = []string{diskFull, "a short write"}
)

// inRegistry is what can't happen to what neither reads nor writes files.
var inRegistry = []string{"an I/O error", "no permission", "a stall", diskFull, "a short write"}

// faultCommands are all commands that write, for all kinds of destinations.
var faultCommands = []faultCommand{
	{name: "convert in place, form", caches: map[string]string{"cache": small}, line: "convert $DIR/cache --to docker-list"},
	{name: "convert in place, recompress", caches: map[string]string{"cache": small}, line: "convert $DIR/cache --compression uncompressed"},
	{
		name: "convert in place, two caches", parts: true,
		before: []string{"copy $DIR/a oci:$DIR/cache:a", "copy $DIR/b oci:$DIR/cache:b"},
		caches: map[string]string{"a": small, "b": other}, line: "convert $DIR/cache --to oci-index",
	},
	{
		name: "convert to a layout", caches: map[string]string{"cache": small, "dst": other},
		line: "convert $DIR/cache $DIR/dst --compression uncompressed --to oci-index",
	},
	{name: "copy to a new layout", caches: map[string]string{"cache": small}, line: "copy $DIR/cache $DIR/new/dst"},
	{name: "copy with links", caches: map[string]string{"cache": small, "dst": other}, line: "copy $DIR/cache $DIR/dst --link --jobs 1"},
	{
		name: "copy where a writer crashed", caches: map[string]string{"cache": small, "dst": other},
		crashed: "dst/.ocicache/tmp-0123456789abcdef", line: "copy $DIR/cache $DIR/dst",
	},
	{
		name: "sync", parts: true, caches: map[string]string{"a": small, "b": other},
		before: []string{"copy $DIR/a oci:$DIR/cache:a", "copy $DIR/b oci:$DIR/cache:b"},
		line:   "sync $DIR/cache $DIR/dst --to docker-list",
	},
	{
		name: "sync, deleting", parts: true, caches: map[string]string{"a": small, "b": other},
		before: []string{"copy $DIR/a oci:$DIR/cache:a", "copy $DIR/b oci:$DIR/dst:a", "copy $DIR/b oci:$DIR/dst:b"},
		line:   "sync $DIR/cache $DIR/dst --delete",
	},
	{name: "convert to an archive", lacks: noSink, caches: map[string]string{"cache": small}, line: "convert $DIR/cache oci-archive:$DIR/cache.tar --to docker-list"},
	{name: "pack", lacks: noSink, caches: map[string]string{"cache": small}, line: "pack $DIR/cache $DIR/cache.tar"},
	{
		name: "pack over a file", lacks: noSink, caches: map[string]string{"cache": small, "old": other},
		before: []string{"pack $DIR/old $DIR/cache.tar"}, line: "pack $DIR/cache $DIR/cache.tar --overwrite",
	},
	{name: "pack, recompress", lacks: noSink, caches: map[string]string{"cache": small}, line: "pack $DIR/cache $DIR/cache.tar --compression uncompressed"},
	{name: "pack in volumes", lacks: noSink, caches: map[string]string{"cache": small}, line: "pack $DIR/cache $DIR/cache.tar --volume-size 40KB --parity 1"},
	{
		name: "pack in volumes over volumes", lacks: noSink, caches: map[string]string{"cache": small, "old": other},
		before: []string{"pack $DIR/old $DIR/cache.tar --volume-size 50KB --parity 2"},
		line:   "pack $DIR/cache $DIR/cache.tar --volume-size 40KB --parity 1 --overwrite",
	},
	{
		name: "pack over volumes", lacks: noSink, caches: map[string]string{"cache": small, "old": other}, parts: true,
		before: []string{"pack $DIR/old $DIR/cache.tar --volume-size 50KB --parity 1"}, line: "pack $DIR/cache $DIR/cache.tar --overwrite",
	},
	{
		name: "unpack", caches: map[string]string{"cache": small}, before: []string{"pack $DIR/cache $DIR/cache.tar"},
		line: "unpack $DIR/cache.tar $DIR/dst", unopened: true,
	},
	{
		name: "unpack with a base and a receipt", lacks: noSink, caches: map[string]string{"cache": small, "base": small, "dst": other}, parts: true,
		before: []string{"convert $DIR/cache --to docker-list", "pack $DIR/cache $DIR/cache.tar --have $DIR/base"},
		line:   "unpack $DIR/cache.tar $DIR/dst --base $DIR/base --receipt $DIR/receipt",
	},
	{
		name: "unpack volumes, one of them lost", missing: true, caches: map[string]string{"cache": small}, unopened: true,
		before: []string{"pack $DIR/cache $DIR/cache.tar --volume-size 40KB --parity 1", "rm $DIR/cache.tar.002"},
		line:   "unpack $DIR/cache.tar $DIR/dst",
	},
	{
		name: "unpack a stream", caches: map[string]string{"cache": small}, unopened: true,
		before: []string{"pack $DIR/cache $DIR/cache.tar", "gzip $DIR/cache.tar"}, line: "unpack $DIR/cache.tar.gz $DIR/dst",
	},
	{name: "extract", caches: map[string]string{"image": "inline-image", "dst": other}, line: "extract oci:$DIR/image:1 oci:$DIR/dst:latest"},
	{
		name: "merge", caches: map[string]string{"a": small, "b": other, "dst": small},
		line: "merge $DIR/a $DIR/b $DIR/dst $DIR/dst --compression uncompressed --to oci-index",
	},
	{
		name: "merge in a registry", lacks: noFiles, caches: map[string]string{"a": small, "b": other},
		before: []string{"copy $DIR/a $REPO:latest"}, line: "merge $DIR/b $REPO:latest $REPO:latest",
	},
	{name: "prune", caches: map[string]string{"a": other}, line: "prune $DIR/a --leaves"},
	{
		name: "prune in a registry", lacks: inRegistry, caches: map[string]string{"a": other},
		before: []string{"copy $DIR/a $REPO:x"}, line: "prune $REPO:x --leaves",
	},
	{
		name: "repair a doubled tag", mends: true, lacks: noSink, parts: true, caches: map[string]string{"cache": small},
		before: []string{"break doubled $DIR/cache"}, line: "repair $DIR/cache --write",
	},
	{
		name: "repair index.json", mends: true, lacks: noSink, parts: true, caches: map[string]string{"cache": small},
		before: []string{"break doubled $DIR/cache", "break odd $DIR/cache"}, line: "repair $DIR/cache --write",
	},
	{
		name: "repair a tag from a base", mends: true, parts: true, caches: map[string]string{"cache": small, "base": small},
		before: []string{"break doubled $DIR/cache", "rm $DIR/cache/" + smallLayer}, line: "repair $DIR/cache --write --base $DIR/base",
	},
	{
		name: "repair without a layer", mends: true, parts: true, caches: map[string]string{"cache": small},
		before: []string{"rm $DIR/cache/" + smallLayer}, line: "repair $DIR/cache --write",
	},
	{
		name: "gc", parts: true, unopened: true, caches: map[string]string{"cache": "stale-blobs"}, lacks: []string{diskFull, "a short write"},
		crashed: "cache/ingest/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/data",
		line:    "gc $DIR/cache --keep-since 0s",
	},
	{name: "tag", caches: map[string]string{"a": small}, line: "tag $DIR/a other"},
	{
		name: "rm", parts: true, caches: map[string]string{"a": small},
		before: []string{"tag $DIR/a x", "tag $DIR/a y"}, line: "rm $DIR/a --match * --exclude latest",
	},
	{
		name: "rm in a registry", parts: true, lacks: inRegistry, caches: map[string]string{"a": small},
		before: []string{"copy $DIR/a $REPO:x", "copy $DIR/a $REPO:y"}, line: "rm $REPO --match * --exclude y",
	},
	{name: "copy to a registry", lacks: noFiles, caches: map[string]string{"cache": small}, line: "copy $DIR/cache $REPO:latest"},
	{
		name: "convert to a registry", lacks: noFiles, caches: map[string]string{"cache": small, "old": other},
		before: []string{"copy $DIR/old $REPO:latest"}, line: "convert $DIR/cache $REPO:latest --compression zstd --to auto",
	},
	{
		name: "convert from a registry", caches: map[string]string{"cache": small},
		before: []string{"convert $DIR/cache --compression estargz", "copy $DIR/cache $REPO:latest"},
		line:   "convert $REPO:latest $DIR/dst --compression uncompressed",
	},
	{
		name: "sync from a registry", caches: map[string]string{"cache": small}, parts: true,
		before: []string{"copy $DIR/cache $REPO:a", "copy $DIR/cache $REPO:b"}, line: "sync $REPO $DIR/dst",
	},
	{
		name: "migrate", caches: map[string]string{"cache": small, "old": other}, parts: true, unopened: true,
		before: []string{"copy $DIR/old $REPO:latest", "plan $DIR/cache $REPO", "plan $DIR/old $REPO:old"},
		line:   "migrate run " + planFile + " --state " + planFile + ".jsonl --give-up 1ms",
	},
	{ // as inspect and diff write theirs, but without the name of the trial in it
		name: "a page", caches: map[string]string{"cache": small}, unopened: true,
		before: []string{"plan $DIR/cache oci:$DIR/dst", "migrate run " + planFile + " --state $DIR/plan/.ocicache/state"},
		line:   "migrate report $DIR/plan/.ocicache/state --html $DIR/page.html",
	},
}

// planFile is a plan, where it does not count as something that a command makes, as it names the trial.
const planFile = "$DIR/plan/.ocicache/plan"

// trial is a place of its own for one run of a command.
type trial struct {
	dir      string
	repo     string // host/repository
	registry *registrytest.Server
}

// words returns a command line as arguments.
func (tr trial) words(line string) []string {
	words := strings.Fields(line)
	for i, word := range words {
		words[i] = strings.NewReplacer("$DIR", tr.dir, "$REPO", "docker://"+tr.repo).Replace(word)
	}
	return words
}

// usesRegistry reports whether the command has to do with one.
func (c faultCommand) usesRegistry() bool { return usesRegistry(c.line) }

func usesRegistry(line string) bool {
	return strings.Contains(line, "$REPO") || strings.Contains(line, planFile)
}

// setUp puts what there is before into a directory, but for what is in a repository.
func (c faultCommand) setUp(t *testing.T, tr trial) {
	t.Helper()
	for name, cache := range c.caches {
		if err := os.CopyFS(filepath.Join(tr.dir, name), os.DirFS(filepath.Join(corpus, cache))); err != nil {
			t.Fatal(err)
		}
	}
	if c.crashed != "" {
		path := filepath.Join(tr.dir, c.crashed)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("half"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range c.before {
		if !strings.Contains(line, "$REPO") {
			tr.prepare(t, line)
		}
	}
}

// prepare runs a command line that comes before.
func (tr trial) prepare(t *testing.T, line string) {
	t.Helper()
	words := tr.words(line)
	var err error
	switch words[0] {
	case "rm":
		err = os.Remove(words[1])
	case "gzip":
		err = gzipFile(words[1])
	case "break":
		err = breakIndex(words[2], words[1])
	case "plan":
		err = addToPlan(tr.words(planFile)[0], strings.Join(words[1:], " ")+"\n")
	default:
		if done := tr.do(t.Context(), nil, line); done.status != exitDone {
			t.Fatalf("%s: status %d, %s", line, done.status, done.stderr)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// breakIndex breaks the index.json of a layout: it names a tag twice, or has a member of the wrong kind.
func breakIndex(dir, how string) error {
	path := filepath.Join(dir, "index.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var index map[string]any
	if err := json.Unmarshal(raw, &index); err != nil {
		return err
	}
	entries, _ := index["manifests"].([]any)
	entry, _ := entries[len(entries)-1].(map[string]any)
	switch how {
	case "doubled":
		gone := maps.Clone(entry)
		gone["digest"] = "sha256:" + strings.Repeat("0", 64)
		index["manifests"] = append([]any{gone}, entries...)
	case "odd":
		entry["urls"] = "https://example.com"
	}
	if raw, err = json.Marshal(index); err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o644)
}

// addToPlan adds a line to a plan.
func addToPlan(path, line string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line)
	return errors.Join(err, file.Close())
}

func gzipFile(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(raw); err != nil {
		return err
	}
	return errors.Join(w.Close(), os.WriteFile(path+".gz", packed.Bytes(), 0o600), os.Remove(path))
}

// done is what became of a command.
type done struct {
	status         int
	stdout, stderr string
}

// do runs a command line, in this process.
func (tr trial) do(ctx context.Context, opens func(layout.Source) layout.Source, line string) done {
	args := append(tr.words(line), "--progress", "none", "--jobs", "2")
	if usesRegistry(line) {
		args = append(args, "--tls-verify=false", "--retry", "0")
	}
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr, opens: opens}
	status := a.run(ctx, args)
	return done{status, stdout.String(), stderr.String()}
}
