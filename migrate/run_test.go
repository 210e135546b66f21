package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// bench is a source and a target, and a state between runs.
type bench struct {
	from, to *registrytest.Server
	creds    string // at both
	state    *migrate.State
	lines    []migrate.Record // of the last run
}

func newBench(t *testing.T, from, to registrytest.Options) *bench {
	t.Helper()
	return &bench{from: registrytest.New(t, from), to: registrytest.New(t, to), state: migrate.NewState()}
}

func insecure() registry.Options {
	no := false
	return registry.Options{TLSVerify: &no, Retries: -1}
}

// fill copies a cache of the corpus to tags of a repository at the source.
func (b *bench) fill(t *testing.T, repository, name string, tags ...string) {
	t.Helper()
	src, err := layout.Open(layouttest.CopyCorpus(t, name), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := insecure()
	o.Creds = b.creds
	dst, err := registry.Open(b.from.Host+"/"+repository, o)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	for _, tag := range tags {
		if _, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), dst, tag, convert.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	b.from.Forget()
}

// plan reads a plan, in which FROM and TO are the registries.
func (b *bench) plan(t *testing.T, text string) *migrate.Plan {
	t.Helper()
	text = strings.NewReplacer("FROM", "docker://"+b.from.Host, "TO", "docker://"+b.to.Host).Replace(text)
	plan, err := migrate.ParsePlan("plan", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// run runs a plan, and keeps what becomes of it for the next run.
func (b *bench) run(t *testing.T, text string, change ...func(*migrate.Options)) *migrate.Summary {
	t.Helper()
	b.lines = nil
	o := migrate.Options{Registry: insecure(), GiveUp: time.Second, State: b.state, Record: func(r migrate.Record) error {
		b.lines = append(b.lines, r)
		return nil
	}}
	o.Registry.Creds = b.creds
	for _, c := range change {
		c(&o)
	}
	summary, err := migrate.Run(t.Context(), b.plan(t, text), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range b.lines {
		b.state.Add(line)
	}
	return summary
}

// want compares what became of caches: brought over, there, done before, failed, not tried.
func want(t *testing.T, s *migrate.Summary, done, there, before, failed, notTried int) {
	t.Helper()
	got := [...]int{s.Done, s.There, s.Before, s.Failed, s.NotTried}
	if got != [...]int{done, there, before, failed, notTried} || s.Planned != done+there+before+failed+notTried {
		t.Errorf("%d planned; done, there, before, failed, not tried: got %v, want %v; %+v", s.Planned, got, []int{done, there, before, failed, notTried}, s.Causes)
	}
	if (s.Err() == nil) != (failed+notTried+s.Sources == 0) {
		t.Errorf("err is %v", s.Err())
	}
}

// TestResume says that what is done takes one request, at the source, until the source changes.
func TestResume(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b", "c")
	const plan = "version: 1\nmigrations: [{source: FROM/app, target: TO/app}]"
	want(t, b.run(t, plan), 3, 0, 0, 0, 0)
	for _, line := range b.lines {
		if line.Event == migrate.EventDone && (line.Requests == 0 || line.From == "" || line.To == "" || line.Took == 0) {
			t.Errorf("the line has not all: %+v", line)
		}
	}
	b.from.Forget()
	b.to.Forget()
	want(t, b.run(t, plan), 0, 0, 3, 0, 0)
	if n := b.from.Count("", "/manifests/"); n != 3 {
		t.Errorf("%d requests for 3 caches", n)
	}
	if requests := b.to.Requests(); len(requests) > 0 {
		t.Errorf("the target was asked: %v", requests)
	}
	b.fill(t, "app", "merge-small2-fresh", "b")
	want(t, b.run(t, plan), 1, 0, 2, 0, 0)
	// Something else is wanted of the same caches.
	want(t, b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app, to: oci-index}]", func(o *migrate.Options) { o.State = nil }), 0, 0, 0, 3, 0)
	b.state = migrate.NewState()
	want(t, b.run(t, plan), 0, 3, 0, 0, 0)
}

// TestHopeless says that what a target refuses for its form is not tried again, unless somebody says so.
func TestHopeless(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{TakesLists: true}, registrytest.Options{})
	b.fill(t, "app", "oci-index-gzip", "list")
	b.fill(t, "app", "artifact-gzip", "fine")
	const plan = "version: 1\nmigrations: [{source: FROM/app, target: TO/app}]"
	s := b.run(t, plan)
	want(t, s, 1, 0, 0, 1, 0)
	if len(s.Causes) != 1 || s.Causes[0].Cause != migrate.CauseRefused || !s.Causes[0].Hopeless {
		t.Fatalf("causes: %+v", s.Causes)
	}
	b.to.Forget()
	want(t, b.run(t, plan), 0, 0, 1, 1, 0)
	if requests := b.to.Requests(); len(requests) > 0 {
		t.Errorf("it was tried again: %v", requests)
	}
	want(t, b.run(t, plan, func(o *migrate.Options) { o.Only = migrate.CauseRefused }), 0, 0, 0, 1, 0)
	if b.to.Count(http.MethodPut, "/manifests/") == 0 {
		t.Error("it was not tried, though it was asked for")
	}
	want(t, b.run(t, strings.Replace(plan, "}]", ", to: auto}]", 1)), 1, 1, 0, 0, 0)
}

// TestDownAndBack says that a registry that is away for a moment costs nothing but time.
func TestDownAndBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b", "c", "d", "e", "f")
	b.to.Inject(registrytest.Fault{Skip: 20, Times: 6, Drop: true})
	b.from.Inject(registrytest.Fault{Path: "/manifests/", Times: 2, Status: http.StatusBadGateway})
	want(t, b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app}]", func(o *migrate.Options) { o.GiveUp = time.Minute }), 6, 0, 0, 0, 0)
	b.to.AssertFired(t)
	b.from.AssertFired(t)
}

// TestGivenUp says that a registry that stays away keeps nothing from others, and that its caches are listed.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b", "c", "d", "e", "f", "g", "h")
	b.fill(t, "web", "artifact-gzip", "a")
	dead := "docker://127.0.0.1:1"
	plan := "version: 1\nmigrations: [{source: FROM/app, target: '" + dead + "/app'}, {source: '" + dead + "/web', target: TO/x}, {source: FROM/web, target: TO/web}]"
	s := b.run(t, plan)
	want(t, s, 1, 0, 0, 0, 8)
	if s.Sources != 1 || len(s.Causes) != 1 || s.Causes[0].Cause != migrate.CauseUnreachable || s.Causes[0].Count != 9 {
		t.Errorf("sources %d, causes %+v", s.Sources, s.Causes)
	}
	var givenUp int
	for _, line := range b.lines {
		if line.Event == migrate.EventNotTried {
			givenUp++
		}
	}
	if last := b.lines[len(b.lines)-1]; givenUp != 9 || last.Event != migrate.EventEnded || last.Left != 9 {
		t.Errorf("%d lines of what was not tried, and last %+v", givenUp, last)
	}
	// All of it is meant by what failed, and nothing else.
	s = b.run(t, plan, func(o *migrate.Options) { o.Only = migrate.OnlyFailed })
	if want(t, s, 0, 0, 0, 0, 8); s.NotMeant != 1 || s.OtherShards != 0 {
		t.Errorf("got %+v", s.Counts)
	}
	// At other targets nothing is.
	want(t, b.run(t, strings.ReplaceAll(plan, dead, "TO"), func(o *migrate.Options) { o.Only = migrate.OnlyFailed }), 9, 0, 0, 0, 0)
}

// TestCheck says that a check writes nothing, and what would be done.
func TestCheck(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{TakesLists: true}, registrytest.Options{User: "ann", Password: "secret"})
	b.fill(t, "app", "artifact-gzip", "main", "old-1", "release-1")
	b.fill(t, "app", "oci-index-gzip", "list")
	plan := b.plan(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app, to: keep, for: ecr, tags: {deny: 'old-.*'}}]")
	check := func(creds string) *migrate.Summary {
		o := migrate.Options{Registry: insecure(), GiveUp: time.Second}
		o.Registry.Creds = creds
		s, err := migrate.Check(t.Context(), plan, o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := check("ann:secret")
	if s.LeftOut != 1 || s.Migrations[0].LeftOutBy["deny"] != 1 || s.Planned != 3 || s.Done+s.Failed != 3 {
		t.Errorf("got %+v", s)
	}
	for _, use := range s.Registries {
		if use.Error != "" || use.Read+use.Write != s.Done || use.Requests == 0 || use.Bytes == 0 {
			t.Errorf("registry %+v", use)
		}
	}
	s = check("ann:wrong")
	if s.Err() == nil || len(s.Causes) != 1 || s.Causes[0].Cause != migrate.CauseAccess {
		t.Errorf("with wrong credentials: %+v", s)
	}
	wrong := slices.IndexFunc(s.Registries, func(use migrate.RegistryUse) bool { return use.Host == b.to.Host && use.Error != "" })
	if wrong < 0 {
		t.Errorf("the registry is %+v", s.Registries)
	}
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		if n := b.to.Count(method, ""); n > 0 {
			t.Errorf("%d × %s", n, method)
		}
	}
}

// TestCheckRecompressed says that layers which would be recompressed count, once each, and that nothing is announced that nobody does.
func TestCheckRecompressed(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b")
	plan := b.plan(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app, compression: zstd, force: true}]")
	var events atomic.Int64
	s, err := migrate.Check(t.Context(), plan, migrate.Options{Registry: insecure(), OnEvent: func(layout.Event) { events.Add(1) }})
	if err != nil || events.Load() != 0 {
		t.Fatalf("%d events, %v", events.Load(), err)
	}
	for _, use := range s.Registries {
		if use.Bytes != 91454 { // of the layers of the source
			t.Errorf("got %+v", use)
		}
	}
	if len(s.Registries) != 2 {
		t.Errorf("got %+v", s.Registries)
	}
}

// TestTargets says where caches go.
func TestTargets(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "team/app", "artifact-gzip", "a", "b")
	b.fill(t, "team/web", "merge-small2-fresh", "a")
	want(t, b.run(t, `{version: 1, migrations: [
		{source: [FROM/team/app, FROM/team/web], target: "TO/x/{repository}:old-{tag}"},
		{source: FROM/team/app, target: "TO/by-tag/{tag}"}]}`), 5, 0, 0, 0, 0)
	for _, path := range []string{
		"/x/team/app/manifests/old-a", "/x/team/app/manifests/old-b", "/x/team/web/manifests/old-a", "/by-tag/a/manifests/a", "/by-tag/b/manifests/b",
	} {
		if n := b.to.Count(http.MethodPut, path+"$"); n != 1 {
			t.Errorf("%s was written %d times", path, n)
		}
	}
	s := b.run(t, `{version: 1, migrations: [{source: FROM/team/app, target: "TO/z:one"}]}`)
	if s.Sources != 1 || s.Err() == nil {
		t.Errorf("two caches for one tag: %+v", s)
	}
}

// TestLayouts says that a run works between layouts, and into the same layout from several sources.
func TestLayouts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var lines strings.Builder
	for n, name := range []string{"artifact-gzip", "multi-tag", "artifact-zstd"} {
		fmt.Fprintf(&lines, "oci:%s oci:%s/far:%d-{tag}\n", layouttest.CopyCorpus(t, name), dir, n)
	}
	plan, err := migrate.ParsePlan("lines", []byte(lines.String()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := migrate.Run(t.Context(), plan, migrate.Options{Layout: layout.Options{LockTimeout: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, 4, 0, 0, 0, 0)
	ref, err := layout.ParseReference(filepath.Join(dir, "far"))
	if err != nil {
		t.Fatal(err)
	}
	far, err := places.Open(t.Context(), ref, places.Options{})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := far.Entries(t.Context())
	tags := layout.TagsOf(entries, func(layout.Kind) bool { return true })
	slices.Sort(tags)
	if want := []string{"0-latest", "1-v1", "1-v2", "2-latest"}; err != nil || !slices.Equal(tags, want) {
		t.Errorf("got %v, %v, want %v", tags, err, want)
	}
}

// TestRecordFails says that what can't be told is not done.
func TestRecordFails(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b", "c")
	full := errors.New("the disk is full")
	_, err := migrate.Run(t.Context(), b.plan(t, "FROM/app TO/app"), migrate.Options{
		Registry: insecure(), Parallel: 1, Record: func(r migrate.Record) error {
			if r.Event == migrate.EventBegun {
				return full
			}
			return nil
		},
	})
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if n := b.to.Count(http.MethodPut, "/manifests/"); n > 0 {
		t.Errorf("%d roots were written", n)
	}
}

// TestInterrupted says that a run ends soon, and says what it was.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b", "c")
	ctx, stop := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	b.to.Inject(registrytest.Fault{Path: "/blobs/", Times: -1, Hang: true, Before: func() { stop(enough) }})
	if _, err := migrate.Run(ctx, b.plan(t, "FROM/app TO/app"), migrate.Options{Registry: insecure()}); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

// TestInterruptedCounts says that what a run did before it was interrupted is counted, and the rest as not tried.
func TestInterruptedCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b", "c", "d")
	ctx, stop := context.WithCancelCause(t.Context())
	enough, done := errors.New("enough"), 0
	state := migrate.NewState()
	s, err := migrate.Run(ctx, b.plan(t, "FROM/app TO/app"), migrate.Options{Registry: insecure(), Parallel: 1, Record: func(r migrate.Record) error {
		state.Add(r)
		if r.Event == migrate.EventDone {
			if done++; done == 2 {
				stop(enough)
			}
		}
		return nil
	}})
	if !errors.Is(err, enough) || !s.Stopped || s.Planned != 4 || s.Done != done || s.Done < 2 || s.Done+s.NotTried != 4 || s.Failed != 0 {
		t.Errorf("%d done, and %+v, %v", done, s.Counts, err)
	}
	// The state has what the run has said.
	report := migrate.NewReport(state)
	if report.Cut != 1 || report.Unended != 0 || report.NotReached != s.NotTried || report.CutOff.IsZero() || report.ToDo() != s.NotTried || report.Complete ||
		!strings.Contains(report.Headline(), "the last run was interrupted at ") {
		t.Errorf("%q, %+v", report.Headline(), report)
	}
	// A run that goes on and ends leaves nothing of it.
	if _, err := migrate.Run(t.Context(), b.plan(t, "FROM/app TO/app"), migrate.Options{Registry: insecure(), State: state, Record: func(r migrate.Record) error {
		state.Add(r)
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	if report := migrate.NewReport(state); !report.Complete || report.Cut != 0 || report.Left() != 0 {
		t.Errorf("%q, %+v", report.Headline(), report)
	}
}
