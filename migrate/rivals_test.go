package migrate_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
)

// TestRivals says that of two caches that go to one tag neither is brought there: in no shard, in no later run, and a check says so.
func TestRivals(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b", "c", "d")
	b.fill(t, "web", "merge-small2-fresh", "a", "b", "c", "e")
	const plan = `{version: 1, migrations: [{source: FROM/app, target: TO/y}, {source: FROM/web, target: TO/y}, {source: FROM/web, target: TO/z}]}`
	taken := func(s *migrate.Summary) {
		t.Helper()
		for _, c := range s.Causes {
			if c.Cause != migrate.CauseTaken {
				t.Errorf("got %+v", c)
			}
		}
	}
	check, err := migrate.Check(t.Context(), b.plan(t, plan), migrate.Options{Registry: insecure()})
	if err != nil || check.Failed != 6 || check.Done != 6 {
		t.Errorf("a check: %+v, %v", check.Counts, err)
	}
	done, failed := 0, 0
	for shard := 1; shard <= 4; shard++ {
		s := b.run(t, plan, func(o *migrate.Options) { o.Shard = migrate.Shard{Index: shard, Of: 4} })
		done, failed = done+s.Done, failed+s.Failed
		taken(s)
	}
	if done != 6 || failed != 6 {
		t.Errorf("%d done, %d failed", done, failed)
	}
	s := b.run(t, plan, func(o *migrate.Options) { o.Only = migrate.OnlyFailed })
	want(t, s, 0, 0, 0, 6, 0)
	if taken(s); !strings.Contains(s.Causes[0].Error, "/y:") || !strings.Contains(s.Causes[0].Error, "one would replace the other") {
		t.Errorf("got %s", s.Causes[0].Error)
	}
	if n := b.to.Count(http.MethodPut, "/y/manifests/[abc]$"); n != 0 {
		t.Errorf("%d tags were written that two caches go to", n)
	}
	// One of them was there before the other one came into the plan.
	want(t, b.run(t, `{version: 1, migrations: [{source: FROM/app, target: TO/y}]}`), 3, 0, 1, 0, 0)
	want(t, b.run(t, plan, func(o *migrate.Options) { o.Only = migrate.OnlyFailed }), 0, 0, 0, 3, 0)
	if n := b.to.Count(http.MethodPut, "/y/manifests/[abc]$"); n != 3 {
		t.Errorf("tags were written %d times, want 3", n)
	}
}

// TestRivalsSpelled says that places are the same, however they are spelled, and that a cache is no rival of itself unless it is to become
// something else.
func TestRivalsSpelled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := layouttest.CopyCorpus(t, "artifact-gzip"), layouttest.CopyCorpus(t, "merge-small2-fresh")
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, plan   string
		done, failed int
	}{
		{"dots", fmt.Sprintf("oci:%s oci:%s/one\noci:%s oci:%s/./one", a, dir, b, dir), 0, 2},
		{"a link", fmt.Sprintf("oci:%s oci:%s/two\noci:%s %s/link/two", a, dir, b, dir), 0, 2},
		{"by tags", fmt.Sprintf("oci:%s oci:%s/latest\noci:%s oci:%s/{tag}", a, dir, b, dir), 0, 2},
		{"another change", fmt.Sprintf("{version: 1, migrations: [{source: 'oci:%s', target: 'oci:%s/three'}, {source: '%s', target: 'oci:%s/three', to: oci-index}]}", a, dir, a, dir), 0, 2},
		{"twice", fmt.Sprintf("oci:%s oci:%s/four\n%s/. %s/four", a, dir, a, dir), 2, 0},
		{"apart", fmt.Sprintf("oci:%s oci:%s/five\noci:%s oci:%s/six", a, dir, b, dir), 2, 0},
	} {
		plan, err := migrate.ParsePlan("plan", []byte(test.plan))
		if err != nil {
			t.Fatal(err)
		}
		s, err := migrate.Run(t.Context(), plan, migrate.Options{Layout: layout.Options{LockTimeout: 10 * time.Second}})
		if err != nil || s.Done+s.There != test.done || s.Failed != test.failed {
			t.Errorf("%s: %+v, %v, %+v", test.name, s.Counts, err, s.Causes)
		}
	}
}

// TestInPlace says that a layout is not its own target, however it is spelled.
func TestInPlace(t *testing.T) {
	t.Parallel()
	dir := layouttest.CopyCorpus(t, "artifact-gzip")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"oci:" + dir, dir + "/.", "oci:" + link, link} {
		if _, err := migrate.ParsePlan("plan", []byte(dir+" "+target)); err == nil || !strings.Contains(err.Error(), "same place") {
			t.Errorf("%s: got %v", target, err)
		}
	}
}

// TestBadTag says that a tag names no other place than the plan means.
func TestBadTag(t *testing.T) {
	t.Parallel()
	src, dir := layouttest.CopyCorpus(t, "multi-tag"), t.TempDir()
	index := filepath.Join(src, "index.json")
	raw, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(index, bytes.Replace(raw, []byte(`"v1"`), []byte(`"../../esc/x"`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	plan, err := migrate.ParsePlan("plan", []byte("oci:"+src+" oci:"+dir+"/in/deep/{tag}"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := migrate.Run(t.Context(), plan, migrate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want(t, s, 1, 0, 0, 1, 0); s.Causes[0].Cause != migrate.CauseBadTag {
		t.Errorf("got %+v", s.Causes)
	}
	if _, err := os.Stat(filepath.Join(dir, "esc")); err == nil {
		t.Error("something was written beside the target")
	}
}

// TestNeverBegun says that what failed is all that is not at its target, as after a kill.
func TestNeverBegun(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b", "c")
	const plan = "version: 1\nmigrations: [{source: FROM/app, target: TO/app}]"
	b.run(t, plan)
	killed := migrate.NewState()
	for _, line := range b.lines {
		if killed.Add(line); line.Event == migrate.EventBegun {
			break
		}
	}
	b.state = killed
	s := b.run(t, plan, func(o *migrate.Options) { o.Only = migrate.OnlyFailed })
	want(t, s, 0, 3, 0, 0, 0)
}

// TestTooFewCaches says that tags without a cache are none of those that have to be there.
func TestTooFewCaches(t *testing.T) {
	t.Parallel()
	image := "oci:" + layouttest.CopyCorpus(t, "inline-image") + " oci:" + t.TempDir()
	plan, err := migrate.ParsePlan("plan", []byte(image))
	if err != nil {
		t.Fatal(err)
	}
	s, err := migrate.Run(t.Context(), plan, migrate.Options{})
	if err != nil || s.Planned != 0 || s.Others == 0 || s.Err() == nil || s.Causes[0].Cause != migrate.CauseTooFew {
		t.Errorf("images only: %+v, %v", s, err)
	}

	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b")
	b.from.Inject(registrytest.Fault{Path: "/manifests/b$", Times: -1, Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN"})
	s = b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app, tags: {min: 2}}]")
	if want(t, s, 1, 0, 0, 1, 0); s.Causes[0].Cause != migrate.CauseDamaged {
		t.Errorf("a tag without a manifest: %+v", s.Causes)
	}
}
