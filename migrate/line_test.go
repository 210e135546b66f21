package migrate

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// TestLine remembers all of a line, whatever is in it.
func TestLine(t *testing.T) {
	t.Parallel()
	a, b := digest.FromString("a"), digest.FromString("b")
	long := digest.SHA512.FromString("a")
	noon := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for name, r := range map[string]Record{
		"done":            {Time: noon, Event: EventDone, Source: "docker://a/b", Tag: "v1", Target: "docker://c:5000/d:v1", As: "artifact", From: a, To: b, Form: buildcache.Artifact, Saved: 5},
		"there":           {Time: noon, Event: EventThere, Source: "s", Tag: "v1", Target: "oci:d:v1", From: a, To: a},
		"another tag":     {Time: noon, Event: EventBegun, Source: "s", Tag: "v1", Target: "oci:d:v2", From: a},
		"no tag":          {Time: noon, Event: EventBegun, Source: "s", Target: "oci:d:latest", From: a},
		"no colon":        {Time: noon, Event: EventFailed, Source: "s", Target: "d", Cause: CauseNotThere, Error: "not there"},
		"a colon at last": {Time: noon, Event: EventBegun, Source: "s", Tag: "v1", Target: "d:", From: a},
		"other digests":   {Time: noon, Event: EventDone, Source: "s", Tag: "v1", Target: "oci:d:v1", From: long, To: long},
		"no digests":      {Time: noon, Event: EventDone, Source: "s", Tag: "v1", Target: "oci:d:v1", From: "sha256:A", To: digest.Digest("sha256:" + strings.Repeat("A", 64))},
		"only to":         {Time: noon, Event: EventDone, Source: "s", Tag: "v1", Target: "oci:d:v1", To: a},
		"pruned":          {Time: noon, Event: EventDone, Source: "s", Tag: "v1", Target: "oci:d:v1", From: a, To: b, Freed: []buildcache.Freed{{}}},
		"no time":         {Event: EventBegun, Source: "s", Tag: "v1", Target: "oci:d:v1"},
		"long ago":        {Time: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), Event: EventBegun, Source: "s", Tag: "v1", Target: "oci:d:v1"},
		"in a long time":  {Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), Event: EventBegun, Source: "s", Tag: "v1", Target: "oci:d:v1"},
	} {
		s := NewState()
		s.Add(r)
		if got := s.Caches(); len(got) != 1 || !reflect.DeepEqual(got[0], r) {
			t.Errorf("%s: it is\n%+v, and was\n%+v", name, got, r)
		}
		if got, ok := s.of(r.job()); !ok || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: a run goes by\n%+v, and it was\n%+v", name, got, r)
		}
		other := r.job()
		if other.tag += "x"; s.find(other) != nil {
			t.Errorf("%s: another tag is known, too", name)
		}
	}
}

// TestBroughtBefore says of a cache that is there who brought it, in whatever order the lines are read.
func TestBroughtBefore(t *testing.T) {
	t.Parallel()
	at := func(second int, event Event, saved int64) Record {
		return Record{
			Time: time.Date(2026, 11, 30, 12, 0, second, 0, time.UTC), Event: event, Source: "s", Tag: "v1", Target: "oci:d:v1",
			From: digest.FromString("a"), To: digest.FromString("a"), Saved: saved,
		}
	}
	first, second, there := at(1, EventDone, 1), at(2, EventDone, 2), at(3, EventThere, 0)
	for _, order := range [][]Record{{first, second, there}, {second, first, there}, {there, second, first}, {there, first, second}, {second, there, first}} {
		s := NewState()
		for _, r := range order {
			s.Add(r)
		}
		if got := s.Caches(); len(got) != 1 || got[0].Event != EventThere || got[0].Saved != 2 || !got[0].Time.Equal(second.Time) {
			t.Errorf("%+v", got)
		}
	}
}

// bytesPerLine is how much may be kept of a cache that a state knows.
const bytesPerLine = 400

// TestStateMemory says how little a state keeps of each cache. It runs alone, as TestSyncMemory does.
func TestStateMemory(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	alive := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	kept := func(caches int) int64 {
		before := alive()
		s := NewState()
		s.lineOf = nil // as in a run, which has one file
		for n := range caches {
			line := fmt.Sprintf(`{"time":"2026-11-30T12:00:00Z","event":%%q,"source":"docker://old.example.com/team/cache","tag":"tag-%06d",`+
				`"target":"docker://new.example.com/team/cache:tag-%06d","from":%q,"to":%q,"requests":4}`, n, n, digest.FromString(fmt.Sprint(n)), digest.FromString(fmt.Sprint(n)))
			for _, event := range []Event{EventBegun, EventDone} {
				r, ok := parseRecord(fmt.Appendf(nil, line, event))
				if !ok {
					t.Fatal("it is no line")
				}
				s.Add(r)
			}
		}
		after := alive()
		runtime.KeepAlive(s)
		return after - before
	}
	few, many := 2000, quicktest.Rounds(10_000, 20_000)
	each := float64(kept(many)-kept(few)) / float64(many-few)
	t.Logf("%.0f bytes for each cache", each)
	if each > bytesPerLine {
		t.Errorf("%.0f bytes are kept for each cache, and %d may be", each, bytesPerLine)
	}
}

// TestFill puts words into targets, and nothing into what was put there.
func TestFill(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"docker://a/b": "docker://a/b", "oci:{repository}:{tag}": "oci:x{tag}:v1", "{tag}{tag}": "v1v1", "{": "{", "{ta{tag}g}{repository": "{tav1g}{repository", "": "",
	} {
		if got := fill(target, "x{tag}", "v1"); got != want {
			t.Errorf("%s becomes %s, want %s", target, got, want)
		}
	}
	ref, err := Migration{Target: "docker://host.example.com/{repository}/{tag}"}.targetFor(layout.Reference{Transport: layout.TransportRegistry, Path: "a/b/c"}, "v1")
	if err != nil || ref.Path != "host.example.com/b/c/v1" {
		t.Errorf("%+v, %v", ref, err)
	}
}
