package migrate_test

import (
	"bytes"
	"fmt"
	"image/color"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/webpage/webpagetest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
)

// night is the state of a night: most caches are there, some failed, in two ways.
func night() *migrate.State {
	state := migrate.NewState()
	at := time.Date(2026, 1, 2, 22, 0, 0, 0, time.UTC)
	state.Add(migrate.Record{Time: at, Event: migrate.EventRun, Version: migrate.StateVersion})
	for n := range 300 {
		at = at.Add(time.Duration(5+n%17) * time.Second)
		r := migrate.Record{
			Time: at, Event: migrate.EventDone, Source: "docker://old.example.com/team/app", Tag: fmt.Sprintf("branch-%03d", n), Target: fmt.Sprint("x:", n),
			Moved: int64(1+n%23) * 40_000_000, Requests: int64(20 + n%9), Took: layout.Seconds(time.Duration(1+n%31) * time.Second),
		}
		switch {
		case n%29 == 3:
			r.Event, r.Moved, r.Cause, r.Error = migrate.EventFailed, 0, migrate.CauseBusy, "too many requests"
		case n%41 == 5:
			r.Event, r.Moved, r.Cause, r.Error = migrate.EventFailed, 0, migrate.CauseRefused, "<script>alert('a root')</script> is refused"
		case n%50 == 7:
			r.Event, r.Moved, r.Cause, r.Error = migrate.EventNotTried, 0, migrate.CauseUnreachable, "new.example.com was down for 5m0s, and was given up"
		case n > 297:
			r.Event, r.Moved = migrate.EventBegun, 0
		}
		state.Add(r)
	}
	return state
}

// TestReport counts what a state says.
func TestReport(t *testing.T) {
	t.Parallel()
	r := migrate.NewReport(night())
	if r.Caches != 300 || r.Done+r.Left() != 300 || r.Failed == 0 || r.NotTried == 0 || r.Interrupted != 2 {
		t.Errorf("got %+v", r)
	}
	steps, bytesMoved := 0, int64(0)
	for _, s := range r.Throughput {
		steps += s.Caches
		bytesMoved += s.Bytes
	}
	if steps != r.Done || bytesMoved != r.Moved || len(r.Throughput) > 60 || len(r.Throughput) < 30 {
		t.Errorf("%d caches and %d bytes in %d steps, want %d and %d", steps, bytesMoved, len(r.Throughput), r.Done, r.Moved)
	}
	if len(r.Slowest) != 10 || r.Slowest[0].Seconds() != 31 || r.Slowest[0].Took < r.Slowest[9].Took {
		t.Errorf("slowest: %+v", r.Slowest)
	}
	if len(r.Causes) != 3 || r.Causes[0].Cause != migrate.CauseBusy || r.Causes[0].Hopeless {
		t.Errorf("causes: %+v", r.Causes)
	}
}

// TestPage says that the page needs nothing else, and escapes what registries said.
func TestPage(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]*migrate.State{"a night": night(), "nothing": migrate.NewState()} {
		var page bytes.Buffer
		if err := migrate.NewReport(state).WriteHTML(&page); err != nil {
			t.Fatal(err)
		}
		if found := webpagetest.External(page.String()); found != "" {
			t.Errorf("%s: the page has %q", name, found)
		}
		if strings.Contains(page.String(), "<script") {
			t.Errorf("%s: the page has a script", name)
		}
	}
}

// TestPageOfOne says that one cache is no caches.
func TestPageOfOne(t *testing.T) {
	t.Parallel()
	state := migrate.NewState()
	at := time.Date(2026, 1, 2, 22, 0, 0, 0, time.UTC)
	state.Add(migrate.Record{Time: at, Event: migrate.EventRun, Version: migrate.StateVersion})
	state.Add(migrate.Record{Time: at.Add(time.Hour), Event: migrate.EventDone, Source: "a", Tag: "b", Target: "c", Moved: 1, Took: 1})
	var page bytes.Buffer
	if err := migrate.NewReport(state).WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	if text := page.String(); !strings.Contains(text, ": 1 cache<") || strings.Contains(text, "1 caches") || strings.Contains(text, "1</b>caches") {
		t.Errorf("one cache is called otherwise:\n%s", text)
	}
}

// TestPageInBrowser looks at the page in a browser, which has no network, and keeps what it looks like.
func TestPageInBrowser(t *testing.T) {
	t.Parallel()
	report := migrate.NewReport(night())
	dom, picture := webpagetest.Look(t, "report", report.WriteHTML)
	for id, want := range map[string]int{"caches": report.Caches, "done": report.Done, "failed": report.Failed, "not-tried": report.NotTried, "interrupted": report.Interrupted} {
		if !strings.Contains(dom, fmt.Sprintf(`<b id="%s">%d</b>`, id, want)) {
			t.Errorf("the page does not say that %s are %d", id, want)
		}
	}
	if bars := strings.Count(dom, "<rect "); bars != 2*len(report.Throughput) {
		t.Errorf("%d bars, want 2 × %d", bars, len(report.Throughput))
	}
	if blue := webpagetest.Count(picture, color.RGBA{R: 0x2a, G: 0x6f, B: 0xdb, A: 0xff}); blue < 10_000 {
		t.Errorf("the bars have %d pixels", blue)
	}
}
