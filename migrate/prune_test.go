package migrate_test

import (
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/migrate"
)

// TestPruned prunes caches on their way. What is done stays done while the source and the plan are what they were; other rules, and
// runs without a state, look again, and send nothing that is there.
func TestPruned(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b")
	const plan = "version: 1\nmigrations: [{source: FROM/app, target: TO/app, prune: {keep_bytes: 88KB}}]"
	planned, err := migrate.Check(t.Context(), b.plan(t, plan), migrate.Options{Registry: insecure()})
	if err != nil {
		t.Fatal(err)
	}
	whole := b.from.Count("PUT", "")
	first := b.run(t, plan)
	want(t, first, 2, 0, 0, 0, 0)
	if len(first.Freed) == 0 || first.Freed[len(first.Freed)-1].Rule != buildcache.PruneMaxBytes || first.Freed[0].Results == 0 {
		t.Errorf("it dropped %+v", first.Freed)
	}
	if planned.Freed[0] != first.Freed[0] {
		t.Errorf("it would drop %+v, and dropped %+v", planned.Freed, first.Freed)
	}
	report := migrate.NewReport(b.state)
	if len(report.Freed) != 1 || report.Freed[0] != first.Freed[0] {
		t.Errorf("the report has %+v", report.Freed)
	}
	if now := b.from.Count("PUT", ""); now != whole {
		t.Errorf("%d writes to the source", now-whole)
	}
	b.to.Forget()
	want(t, b.run(t, plan), 0, 0, 2, 0, 0)
	if requests := b.to.Requests(); len(requests) > 0 {
		t.Errorf("the target was asked: %v", requests)
	}
	forgotten := func(o *migrate.Options) { o.State = migrate.NewState() }
	want(t, b.run(t, plan, forgotten), 0, 2, 0, 0, 0)
	if n := b.to.Count("PUT", ""); n > 0 {
		t.Errorf("%d writes for what is there", n)
	}
	other := "version: 1\nmigrations: [{source: FROM/app, target: TO/app, prune: {leaves: true}}]"
	want(t, b.run(t, other), 2, 0, 0, 0, 0)
	if n := b.to.Count("PUT", "/blobs/"); n > 2 {
		t.Errorf("%d blobs were written, more than two configs", n)
	}
}

// TestPrunedToNothing says that a cache of which nothing would be left is not brought over, and not tried again until the source or the
// plan changes.
func TestPrunedToNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a")
	plan := "version: 1\nmigrations: [{source: FROM/app, target: TO/app, prune: {older_than: 0s}}]"
	for range 2 {
		s := b.run(t, plan)
		want(t, s, 0, 0, 0, 1, 0)
		if c := s.Causes[0]; c.Cause != migrate.CauseEmptied || !c.Hopeless || c.Advice == "" {
			t.Errorf("%+v", c)
		}
		if n := b.to.Count("PUT", ""); n > 0 {
			t.Errorf("%d writes", n)
		}
	}
	want(t, b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app, prune: {older_than: 36500d}}]"), 1, 0, 0, 0, 0)
}
