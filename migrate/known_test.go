package migrate_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
)

// log are lines of one file, written one after another, as many seconds apart as step says.
func log(t *testing.T, begun, step int, records ...migrate.Record) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	to := migrate.RecordTo(&out)
	for n, r := range records {
		r.Time = time.Unix(int64(1_700_000_000+begun+n*step), 0).UTC()
		if err := to(r); err != nil {
			t.Fatal(err)
		}
	}
	return &out
}

// begins, ends and a source's failure, as runs write them.
func begins(shard string) migrate.Record {
	return migrate.Record{Event: migrate.EventRun, Version: migrate.StateVersion, Shard: shard}
}

func ends(shard string, left int) migrate.Record {
	return migrate.Record{Event: migrate.EventEnded, Shard: shard, Left: left}
}

func sourceFails() migrate.Record {
	return migrate.Record{Event: migrate.EventFailed, Source: "a", Target: "b", Cause: migrate.CauseAccess, Error: "no"}
}

// reportOf reads logs in all orders, and says what the report of all of them is.
func reportOf(t *testing.T, logs ...*bytes.Buffer) *migrate.Report {
	t.Helper()
	var first *migrate.Report
	for _, reversed := range []bool{false, true} {
		order := slices.Clone(logs)
		if reversed {
			slices.Reverse(order)
		}
		state := migrate.NewState()
		for _, l := range order {
			if err := state.Read("log", bytes.NewReader(l.Bytes())); err != nil {
				t.Fatal(err)
			}
		}
		r := migrate.NewReport(state)
		if first == nil {
			first = r
		} else if got, want := fmt.Sprintf("%+v", *r), fmt.Sprintf("%+v", *first); got != want {
			t.Errorf("the order of files changes the report:\n%s\n%s", got, want)
		}
	}
	return first
}

// TestHeadline says that nothing is called there that may not be.
func TestHeadline(t *testing.T) {
	t.Parallel()
	done, fails := record(migrate.EventDone, "x"), record(migrate.EventFailed, "x")
	for want, logs := range map[string][]*bytes.Buffer{
		"no run is in it":                           {log(t, 0, 1)},
		"everything is there, by the state":         {log(t, 0, 1, begins(""), done, ends("", 0))},
		"the last run did not end":                  {log(t, 0, 1, begins(""), ends("", 0), begins(""), done)},
		"at least 1 left; the last run did not end": {log(t, 0, 1, begins(""), record(migrate.EventBegun, "x"))},
		"1 left":                             {log(t, 0, 1, begins(""), fails, ends("", 1))},
		"1 source left":                      {log(t, 0, 1, begins(""), sourceFails(), ends("", 1))},
		"1 cache and 1 source left":          {log(t, 0, 1, begins(""), fails, sourceFails(), ends("", 2))},
		"3 left":                             {log(t, 0, 1, begins(""), done, ends("", 3))},
		"shard 1/2 only":                     {log(t, 0, 1, begins("1/2"), done, ends("1/2", 0))},
		"2 of 3 shards only":                 {log(t, 0, 1, begins("1/3"), ends("1/3", 0)), log(t, 0, 1, begins("3/3"), done, ends("3/3", 0))},
		"2 runs did not end":                 {log(t, 0, 1, begins("1/2")), log(t, 0, 1, begins("2/2"), done)},
		"one shard again, in another file":   {log(t, 0, 1, begins("1/1"), record(migrate.EventBegun, "x")), log(t, 9, 1, begins("1/1"), done, ends("1/1", 0))},
		"one cause alone after a kill":       {log(t, 0, 1, begins(""), done, migrate.Record{Event: migrate.EventRun, Version: 1, Only: migrate.CauseBusy}, ends("", 0))},
		"one cause alone after what is left": {log(t, 0, 1, begins(""), fails, ends("", 1), migrate.Record{Event: migrate.EventRun, Version: 1, Only: migrate.CauseBusy}, done, ends("", 0))},
	} {
		switch want {
		case "one shard again, in another file", "one cause alone after what is left":
			want = "everything is there, by the state"
		case "one cause alone after a kill":
			want = "the last run did not end"
		}
		r := reportOf(t, logs...)
		if got := r.Headline(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		var page bytes.Buffer
		if err := r.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "<h1>Migration: "+want+"</h1>") {
			t.Errorf("the page does not say %q: %v", want, err)
		}
	}
}

// TestSourceListedLater says that a source that could be listed later does not stay failed, by the same shard.
func TestSourceListedLater(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		want int
		logs []*bytes.Buffer
	}{
		"failed":                   {1, []*bytes.Buffer{log(t, 0, 1, begins(""), sourceFails(), ends("", 1))}},
		"a cache of it, later":     {0, []*bytes.Buffer{log(t, 0, 0, begins(""), sourceFails(), ends("", 1), begins(""), record(migrate.EventBegun, "x"))}},
		"nothing to do, later":     {0, []*bytes.Buffer{log(t, 0, 0, begins(""), sourceFails(), ends("", 1), begins(""), ends("", 0))}},
		"killed, later":            {1, []*bytes.Buffer{log(t, 0, 0, begins(""), sourceFails(), ends("", 1), begins(""))}},
		"failed again":             {1, []*bytes.Buffer{log(t, 0, 0, begins(""), sourceFails(), ends("", 1), begins(""), sourceFails(), ends("", 1))}},
		"failed after it was seen": {1, []*bytes.Buffer{log(t, 0, 0, begins(""), record(migrate.EventDone, "x"), ends("", 0), begins(""), sourceFails(), ends("", 1))}},
		"another shard": {1, []*bytes.Buffer{
			log(t, 0, 1, begins("1/2"), sourceFails(), ends("1/2", 1)), log(t, 9, 1, begins("2/2"), record(migrate.EventDone, "x"), ends("2/2", 0)),
		}},
		"that shard, elsewhere": {0, []*bytes.Buffer{
			log(t, 0, 1, begins("1/2"), sourceFails(), ends("1/2", 1)), log(t, 9, 1, begins("1/2"), record(migrate.EventDone, "x"), ends("1/2", 0)),
		}},
	} {
		if r := reportOf(t, test.logs...); r.Sources != test.want || (len(r.Causes) > 0) != (test.want > 0) {
			t.Errorf("%s: %d failed sources, want %d; causes %v", name, r.Sources, test.want, r.Causes)
		}
	}
}

// TestByTime says that of two files that one counts that is newer.
func TestByTime(t *testing.T) {
	t.Parallel()
	done, there := record(migrate.EventDone, "x"), record(migrate.EventThere, "x")
	done.Moved, done.Took, done.From, there.From = 100, layout.Seconds(time.Second), "sha256:1", "sha256:1"
	older := log(t, 0, 1, begins(""), record(migrate.EventFailed, "x"), done, record(migrate.EventFailed, "y"), ends("", 0))
	newer := log(t, 100, 1, begins(""), record(migrate.EventFailed, "x"), there, record(migrate.EventDone, "y"), ends("", 0))
	if r := reportOf(t, older, newer); r.There != 1 || r.Done != 1 || r.Moved != 100 || r.Failed != 0 {
		t.Errorf("got %+v", r)
	}
}

// TestWorked says that pauses between runs are no work, and that runs at one time are it once.
func TestWorked(t *testing.T) {
	t.Parallel()
	r := reportOf(t, log(t, 0, 10, begins("1/2"), ends("1/2", 0)), log(t, 5, 10, begins("2/2"), ends("2/2", 0)), log(t, 1000, 3, begins("2/2"), record(migrate.EventDone, "x")))
	if got := time.Duration(r.Worked); got != 18*time.Second {
		t.Errorf("got %v", got)
	}
}

// TestReplaced says that what a later plan makes of a cache, or of a target, ends what was known before.
func TestReplaced(t *testing.T) {
	t.Parallel()
	refused, other := record(migrate.EventFailed, "x"), record(migrate.EventDone, "x")
	refused.As, refused.Cause = "docker-list", migrate.CauseRefused
	other.Source = "elsewhere"
	for name, test := range map[string]struct {
		done, failed int
		records      []migrate.Record
	}{
		"another form":               {1, 0, []migrate.Record{begins(""), refused, ends("", 1), begins(""), record(migrate.EventDone, "x"), ends("", 0)}},
		"another form, refused now":  {0, 1, []migrate.Record{begins(""), record(migrate.EventDone, "x"), ends("", 0), begins(""), refused, ends("", 1)}},
		"another source":             {1, 0, []migrate.Record{begins(""), record(migrate.EventDone, "x"), ends("", 0), begins(""), other, ends("", 0)}},
		"another source has the tag": {1, 1, []migrate.Record{begins(""), other, record(migrate.EventFailed, "x"), ends("", 1)}},
	} {
		if r := reportOf(t, log(t, 0, 0, test.records...)); r.Done != test.done || r.Failed != test.failed {
			t.Errorf("%s: %d done and %d failed, want %d and %d", name, r.Done, r.Failed, test.done, test.failed)
		}
	}
}

// TestForeignLines says that lines of other programs are none of ours, whatever their events are called.
func TestForeignLines(t *testing.T) {
	t.Parallel()
	const foreign = `{"event":"run","msg":"x"}
{"event":"done","msg":"x"}
{"event":"ended"}
`
	state := migrate.NewState()
	all := foreign + log(t, 0, 1, begins(""), record(migrate.EventDone, "x")).String() + foreign
	if err := state.Read("log", strings.NewReader(all)); err != nil {
		t.Fatal(err)
	}
	if got, want := summary(state), "1 runs, x done, 6 skipped"; got != want || state.Runs[0].End != nil {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestAnotherChange says that what a later plan replaced at a target is not taken for being there when the first plan comes back.
func TestAnotherChange(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{TakesLists: true}, registrytest.Options{TakesLists: true})
	b.fill(t, "app", "artifact-gzip", "a")
	want(t, b.run(t, `{version: 1, migrations: [{source: FROM/app, target: TO/app, to: artifact}]}`), 1, 0, 0, 0, 0)
	want(t, b.run(t, `{version: 1, migrations: [{source: FROM/app, target: TO/app, to: oci-index}]}`), 1, 0, 0, 0, 0)
	want(t, b.run(t, `{version: 1, migrations: [{source: FROM/app, target: TO/app, to: artifact}]}`), 1, 0, 0, 0, 0)
	want(t, b.run(t, `{version: 1, migrations: [{source: FROM/app, target: TO/app, to: artifact}]}`), 0, 0, 1, 0, 0)
}

// TestStill says that what was done is done again in a layout that has it no more. A registry is not asked.
func TestStill(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b")
	far := filepath.Join(t.TempDir(), "far")
	text := "version: 1\nmigrations: [{source: FROM/app, target: 'oci:" + far + "'}, {source: FROM/app, target: TO/app}]"
	want(t, b.run(t, text), 4, 0, 0, 0, 0)
	b.to.Forget()
	want(t, b.run(t, text), 0, 0, 4, 0, 0)
	if n := len(b.to.Requests()); n != 0 {
		t.Errorf("%d requests to the target", n)
	}
	l, err := layout.Open(far, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Untag(t.Context(), "a", layouttest.Entry(t, l, "a").Descriptor.Digest, nil); err != nil {
		t.Fatal(err)
	}
	want(t, b.run(t, text), 1, 0, 3, 0, 0)
	if err := os.RemoveAll(far); err != nil {
		t.Fatal(err)
	}
	want(t, b.run(t, text), 2, 0, 2, 0, 0)
}
