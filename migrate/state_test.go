package migrate_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
)

func record(event migrate.Event, tag string) migrate.Record {
	r := migrate.Record{Time: time.Unix(1700000000, 0).UTC(), Event: event, Source: "a", Tag: tag, Target: "b:" + tag}
	if event == migrate.EventRun {
		r = migrate.Record{Time: r.Time, Event: event, Version: migrate.StateVersion}
	}
	return r
}

// write opens a state and adds lines.
func write(t *testing.T, path string, records ...migrate.Record) {
	t.Helper()
	state, err := migrate.OpenState(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	for _, r := range records {
		if err := state.Record(r); err != nil {
			t.Fatal(err)
		}
	}
}

// summary is what a state says, in words.
func summary(s *migrate.State) string {
	words := []string{fmt.Sprintf("%d runs", len(s.Runs))}
	for _, c := range s.Caches() {
		words = append(words, c.Tag+" "+string(c.Event))
	}
	return strings.Join(append(words, fmt.Sprintf("%d skipped", s.Skipped)), ", ")
}

func read(t *testing.T, path string) string {
	t.Helper()
	state, err := migrate.OpenState(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	return summary(state.State)
}

// TestState says that of each cache the last line counts, whatever a crash did to the last of all.
func TestState(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	write(t, path, record(migrate.EventRun, ""), record(migrate.EventBegun, "x"), record(migrate.EventBegun, "y"), record(migrate.EventDone, "x"))
	if got, want := read(t, path), "1 runs, x done, y begun, 0 skipped"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndexByte(raw[:len(raw)-1], '\n') + 1
	for cut := last; cut < len(raw); cut++ { // wherever the last line was torn
		torn := filepath.Join(t.TempDir(), "torn")
		if err := os.WriteFile(torn, raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, torn, record(migrate.EventRun, ""), record(migrate.EventFailed, "y"))
		want := fmt.Sprintf("2 runs, x begun, y failed, %d skipped", min(cut-last, 1))
		if cut == len(raw)-1 { // only the newline was lost
			want = "2 runs, x done, y failed, 0 skipped"
		}
		if got := read(t, torn); got != want {
			t.Fatalf("torn at %d: got %s, want %s", cut, got, want)
		}
	}
	// The very first line.
	torn := filepath.Join(t.TempDir(), "first")
	if err := os.WriteFile(torn, raw[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, torn, record(migrate.EventRun, ""), record(migrate.EventDone, "z"))
	if got, want := read(t, torn), "1 runs, z done, 1 skipped"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestStateRefused says which files are not added to.
func TestStateRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	write(t, path, record(migrate.EventRun, ""))
	state, err := migrate.OpenState(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	var locked *layout.LockedError
	if _, err := migrate.OpenState(t.Context(), path, 0); !errors.As(err, &locked) {
		t.Errorf("a second process: got %v", err)
	}
	state.Close()
	for text, want := range map[string]any{
		"version: 1\nmigrations: []\n":        new(*migrate.NoStateError),
		"no newline at its end":               new(*migrate.NoStateError),
		`{"ti`:                                nil,
		"one\ntwo":                            new(*migrate.NoStateError),
		`{"event":"run","version":2}` + "\n":  new(*migrate.VersionError),
		`{"event":"done","tag":"x"}` + "\n":   new(*migrate.NoStateError),
		`{"event":"dance","tag":"x"}` + "\n":  new(*migrate.NoStateError),
		"":                                    nil,
		`{"event":"run","version":1}` + "\nx": nil,
	} {
		other := filepath.Join(t.TempDir(), "other")
		if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		state, err := migrate.OpenState(t.Context(), other, 0)
		switch {
		case want == nil && err != nil, want != nil && !errors.As(err, want):
			t.Errorf("%q: got %v, want %T", text, err, want)
		case err == nil:
			state.Close()
		}
		if raw, err := os.ReadFile(other); err != nil || string(raw) != text {
			t.Errorf("%q became %q, %v", text, raw, err)
		}
	}
}

// TestStateInLog says that lines of a state are found in a log that has others.
func TestStateInLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	to := migrate.RecordTo(&log)
	fmt.Fprintln(&log, "ocicache: convert: 1 of 2 blobs")
	for _, r := range []migrate.Record{record(migrate.EventRun, ""), record(migrate.EventDone, "x"), record(migrate.EventEnded, "")} {
		if err := to(r); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(&log, strings.Repeat("x", 3<<20))
	if err := to(record(migrate.EventFailed, "y")); err != nil {
		t.Fatal(err)
	}
	state := migrate.NewState()
	if err := state.Read("log", &log); err != nil {
		t.Fatal(err)
	}
	if got, want := summary(state), "1 runs, x done, y failed, 2 skipped"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestShards says that shards are together the whole, that nothing is in two, and that none is much larger than others.
func TestShards(t *testing.T) {
	t.Parallel()
	for _, of := range []int{1, 2, 3, 16, 100} {
		sizes := make([]int, of)
		for n := range 100 * of {
			source, tag := fmt.Sprint("docker://old.example.com/", n%7), fmt.Sprint("tag-", n)
			found := []int{}
			for index := 1; index <= of; index++ {
				if (migrate.Shard{Index: index, Of: of}).Has(source, tag) {
					found = append(found, index)
					sizes[index-1]++
				}
			}
			if len(found) != 1 {
				t.Fatalf("%s:%s is in the shards %v of %d", source, tag, found, of)
			}
		}
		if slices.Max(sizes) > 160 || slices.Min(sizes) < 50 {
			t.Errorf("%d shards of 100 have %v", of, sizes)
		}
	}
	if !(migrate.Shard{}).Has("a", "b") {
		t.Error("the whole lacks something")
	}
	// Shards of two versions must agree.
	if !(migrate.Shard{Index: 6, Of: 16}).Has("docker://old.example.com/team/app", "main") {
		t.Error("the hash is another")
	}
}

// TestParseShard reads shards, also as Kubernetes says them.
func TestParseShard(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, index, want string }{
		{"3/16", "", "3/16"},
		{"1/1", "7", "1/1"},
		{"16", "0", "1/16"},
		{"16", "15", "16/16"},
		{"16", "16", ""},
		{"16", "", ""},
		{"16", "-1", ""},
		{"0/16", "", ""},
		{"17/16", "", ""},
		{"1/0", "", ""},
		{"/16", "3", ""},
		{"", "3", ""},
		{"1/2/3", "", ""},
		{"1/1000000000", "", ""},
	} {
		got, err := migrate.ParseShard(test.text, test.index)
		if got.String() != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q, %q: got %q, %v", test.text, test.index, got, err)
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","event":"run","version":1}` + "\n" + `{"event":"done","source":"a","tag":"x","seconds":1.5}` + "\nx"))
	f.Add([]byte(`{"event":"run","version":1}` + "\n" + `{"event":"failed","cause":"busy","time":"0001-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		state := migrate.NewState()
		err := state.Read("state", bytes.NewReader(raw))
		var none *migrate.NoStateError
		var version *migrate.VersionError
		if err != nil && !errors.As(err, &none) && !errors.As(err, &version) {
			t.Fatal(err)
		}
		var page bytes.Buffer
		if err := migrate.NewReport(state).WriteHTML(&page); err != nil {
			t.Fatal(err)
		}
	})
}
