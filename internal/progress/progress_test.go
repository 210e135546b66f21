package progress_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/internal/progress"
	"github.com/ocicache/ocicache/layout"
)

// modes are all that show something.
var modes = []progress.Mode{progress.Plain, progress.Auto, progress.Trace, progress.JSON, progress.Bars}

// log is a writer that remembers when what was written.
type log struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.start.IsZero() {
		l.start = time.Now()
	}
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *log) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func blob(n int) digest.Digest { return digest.FromString(fmt.Sprint("blob ", n)) }

func plan(count int, total int64) layout.Event {
	return layout.Event{Kind: layout.EventPlan, Verb: "convert", Count: count, Total: total}
}

func start(n int, size int64) layout.Event {
	return layout.Event{Kind: layout.EventStart, Verb: "recompress", Digest: blob(n), Total: size}
}

func bytes(n int, size int64) layout.Event {
	return layout.Event{Kind: layout.EventBytes, Verb: "recompress", Digest: blob(n), Bytes: size}
}

func done(n int, err error) layout.Event {
	return layout.Event{Kind: layout.EventDone, Verb: "recompress", Digest: blob(n), Err: err}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]progress.Mode{
		"auto": progress.Auto, "plain": progress.Plain, "json": progress.JSON, "none": progress.None,
		"bars": "", "trace": "", "": "", "JSON": "", "auto ": "",
	} {
		got, err := progress.Parse(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", name, got, err, want)
		}
	}
}

// What is done within a second shows nothing, except as JSON.
func TestQuietAtFirst(t *testing.T) {
	t.Parallel()
	for _, mode := range []progress.Mode{progress.Plain, progress.Auto} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var out log
				handle, stop := progress.New(mode, &out)
				handle(plan(3, 3e6))
				handle(start(1, 1e6))
				handle(bytes(1, 1e6))
				handle(done(1, nil))
				time.Sleep(time.Second - 1)
				synctest.Wait()
				if lines := out.all(); len(lines) > 0 {
					t.Errorf("within the first second: %q", lines)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if want := []string{"ocicache: recompress: 1 of 3 blobs, 1.0 MB of 3.0 MB\n"}; !slices.Equal(out.all(), want) {
					t.Errorf("after a second: %q, want %q", out.all(), want)
				}
				stop()
			})
		})
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out log
		handle, stop := progress.New(progress.Plain, &out)
		time.Sleep(2 * time.Second) // before there is anything to tell
		handle(plan(2, 2e6))
		handle(start(1, 1e6))
		handle(bytes(1, 5e5))
		time.Sleep(5 * time.Second)
		handle(bytes(1, 5e5))
		handle(done(1, nil))
		handle(plan(1, 7)) // the next cache
		time.Sleep(5 * time.Second)
		synctest.Wait()
		stop()
		time.Sleep(time.Minute)
		// A line each five seconds, and none for each blob.
		want := []string{
			"ocicache: recompress: 0 of 2 blobs, 500 kB of 2.0 MB\n",
			"ocicache: convert: 1 of 3 blobs, 1.0 MB of 2.0 MB\n",
			"ocicache: stopped: 1 of 3 blobs, 1.0 MB of 2.0 MB\n",
		}
		if !slices.Equal(out.all(), want) {
			t.Errorf("got %q, want %q", out.all(), want)
		}
	})
}

// What has failed, or was stopped for that, is not done.
func TestPlainAfterFailure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		errs []error
		want string
	}{
		{[]error{nil, nil}, "ocicache: done: 2 of 2 blobs, 0 B of 2.0 MB\n"},
		{[]error{nil, errors.New("disk full")}, "ocicache: ended: 1 of 2 blobs, 1 failed, 0 B of 2.0 MB\n"},
		{[]error{&parallel.StoppedError{}, errors.New("disk full")}, "ocicache: ended: 0 of 2 blobs, 1 failed, 0 B of 2.0 MB\n"},
		{[]error{nil, context.Canceled}, "ocicache: stopped: 1 of 2 blobs, 0 B of 2.0 MB\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out log
			handle, stop := progress.New(progress.Plain, &out)
			handle(plan(2, 2e6))
			time.Sleep(2 * time.Second)
			for i, err := range test.errs {
				handle(start(i, 1e6))
				handle(done(i, err))
			}
			stop()
			if lines := out.all(); lines[len(lines)-1] != test.want {
				t.Errorf("%v: %q, want %q", test.errs, lines, test.want)
			}
		})
	}
}

// TestPlainDoneAgain says that a blob that failed, and is done when it is tried again, has not failed.
func TestPlainDoneAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out log
		handle, stop := progress.New(progress.Plain, &out)
		handle(plan(1, 1e6))
		time.Sleep(2 * time.Second)
		for _, err := range []error{errors.New("down"), nil} {
			handle(start(0, 1e6))
			handle(done(0, err))
		}
		stop()
		if lines := out.all(); lines[len(lines)-1] != "ocicache: done: 1 of 1 blobs, 0 B of 1.0 MB\n" {
			t.Errorf("got %q", lines)
		}
	})
}

func TestTrace(t *testing.T) {
	t.Parallel()
	var out log
	handle, stop := progress.New(progress.Trace, &out)
	handle(plan(2, 2e6))
	handle(start(1, 10))
	handle(bytes(1, 10))
	handle(done(1, nil))
	handle(start(2, 20))
	handle(done(2, errors.New("disk full")))
	stop()
	want := []string{
		fmt.Sprintf("ocicache: debug: recompress %s (10 bytes)\n", blob(1)),
		fmt.Sprintf("ocicache: debug: recompress %s: done\n", blob(1)),
		fmt.Sprintf("ocicache: debug: recompress %s (20 bytes)\n", blob(2)),
		fmt.Sprintf("ocicache: debug: recompress %s: disk full\n", blob(2)),
	}
	if !slices.Equal(out.all(), want) {
		t.Errorf("got %q, want %q", out.all(), want)
	}
}

// Every way of showing progress says what is tried again, why, and when, at once; on a terminal above the bars.
func TestRetry(t *testing.T) {
	t.Parallel()
	retry := layout.Event{
		Kind: layout.EventRetry, Verb: "push", Err: errors.New("docker://x: push: connection \x1b[2Jreset\nby peer"), Wait: 1500 * time.Millisecond,
	}
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			out := &log{}
			w := io.Writer(out)
			var term *terminal
			if mode == progress.Bars {
				term = openTerminal(t)
				w = term.File
			}
			synctest.Test(t, func(t *testing.T) {
				handle, stop := progress.New(mode, w)
				handle(plan(1, 1e6))
				handle(start(1, 1e6))
				handle(retry)
				time.Sleep(3 * time.Second)
				stop()
				handle(retry)
			})
			text := strings.Join(out.all(), "")
			if term != nil {
				text = term.end()
			}
			want := "reset; trying again in 1.5 s"
			if mode == progress.JSON {
				want = `{"event":"retry","verb":"push","error":"docker://x: push: connection \u001b[2Jreset\nby peer","seconds":1.5}` + "\n"
			}
			if strings.Count(text, want) != 1 {
				t.Errorf("%q is not once in %q", want, text)
			}
		})
	}
}

func TestNone(t *testing.T) {
	t.Parallel()
	var out log
	handle, stop := progress.New(progress.None, &out)
	handle.Send(plan(1, 1)) // silence takes events
	stop()
	if lines := out.all(); len(lines) > 0 {
		t.Errorf("it wrote %q", lines)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var out log
	handle, stop := progress.New(progress.JSON, &out)
	handle(plan(2, 2e6))
	handle(start(1, 10))
	handle(bytes(1, 10))
	handle(done(1, nil))
	handle(done(2, errors.New("a \"quoted\"\nerror")))
	stop()
	want := []string{
		`{"event":"plan","verb":"convert","blobs":2,"bytes":2000000}`,
		fmt.Sprintf(`{"event":"start","verb":"recompress","digest":%q,"bytes":10}`, blob(1)),
		fmt.Sprintf(`{"event":"done","verb":"recompress","digest":%q}`, blob(1)),
		fmt.Sprintf(`{"event":"done","verb":"recompress","digest":%q,"error":"a \"quoted\"\nerror"}`, blob(2)),
	}
	for i := range want {
		want[i] += "\n"
	}
	if !slices.Equal(out.all(), want) {
		t.Errorf("got %q, want %q", out.all(), want)
	}
}

// hostile are digests as a root may have them.
var hostile = []digest.Digest{
	"", ":", "sha256", "sha256:", "sha256:abc", "../../etc/passwd", ":\x00\xff", "\x1b[2J:\x1b]0;owned\a",
	digest.Digest("sha256:" + strings.Repeat("ü", 5000)), "sha256:%s%n%d", "a:b:c:d", "sha256:\n\r\t\"",
}

func TestHostileEvents(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			out := io.Writer(&log{})
			term := (*terminal)(nil)
			if mode == progress.Bars {
				term = openTerminal(t)
				out = term.File
			}
			synctest.Test(t, func(t *testing.T) {
				handle, stop := progress.New(mode, out)
				handle(plan(-1, math.MinInt64))
				handle(plan(math.MaxInt, math.MaxInt64))
				for _, d := range hostile {
					handle(layout.Event{Kind: layout.EventBytes, Digest: d, Bytes: 5}) // before it is begun
					handle(layout.Event{Kind: layout.EventStart, Digest: d, Total: -1})
					handle(layout.Event{Kind: layout.EventStart, Digest: d, Total: 10}) // and begun again
					handle(layout.Event{Kind: layout.EventBytes, Digest: d, Bytes: math.MaxInt64})
					handle(layout.Event{Kind: layout.EventBytes, Digest: d, Bytes: -7})
				}
				handle(layout.Event{Kind: 99})
				time.Sleep(7 * time.Second)
				for _, d := range hostile {
					handle(layout.Event{Kind: layout.EventDone, Digest: d})
					handle(layout.Event{Kind: layout.EventDone, Digest: d, Err: errors.New("again")})
				}
				time.Sleep(7 * time.Second)
				stop()
			})
			if mode == progress.JSON {
				wantJSONLines(t, strings.Join(out.(*log).all(), "")) //nolint:forcetypeassert // set above
			}
			if term != nil {
				term.end()
			}
		})
	}
}

func wantJSONLines(t *testing.T, text string) (events map[string]int) {
	t.Helper()
	events = map[string]int{}
	for line := range strings.Lines(text) {
		var value struct {
			Event  string `json:"event"`
			Digest string `json:"digest"`
		}
		if err := json.Unmarshal([]byte(line), &value); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		events[value.Event]++
	}
	return events
}

// After the end nothing is written, whatever still comes.
func TestNothingAfterTheEnd(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			out := &log{}
			w := io.Writer(out)
			var term *terminal
			if mode == progress.Bars {
				term = openTerminal(t)
				w = term.File
			}
			const mark = "THE END"
			synctest.Test(t, func(t *testing.T) {
				handle, stop := progress.New(mode, w)
				handle(plan(3, 30))
				handle(start(1, 10))
				time.Sleep(3 * time.Second)
				stop()
				if _, err := io.WriteString(w, mark); err != nil {
					t.Fatal(err)
				}
				handle(bytes(1, 5))
				handle(done(1, nil))
				handle(plan(5, 50))
				handle(start(2, 10))
				handle(bytes(2, 5))
				handle(done(2, errors.New("late")))
				time.Sleep(time.Minute)
			})
			text := strings.Join(out.all(), "")
			if term != nil {
				text = term.end()
			}
			before, after, found := strings.Cut(text, mark)
			if !found || before == "" || after != "" {
				t.Errorf("before the end: %q, after it: %q", before, after)
			}
		})
	}
}

func TestBars(t *testing.T) {
	t.Parallel()
	show := func(t *testing.T, work func(handle layout.Handler)) string {
		t.Helper()
		term := openTerminal(t)
		synctest.Test(t, func(t *testing.T) {
			handle, stop := progress.New(progress.Bars, term.File)
			work(handle)
			stop()
		})
		return term.end()
	}
	t.Run("quiet at first", func(t *testing.T) {
		t.Parallel()
		shown := show(t, func(handle layout.Handler) {
			handle(plan(2, 2e6))
			handle(start(1, 1e6))
			handle(bytes(1, 1e6))
			time.Sleep(time.Second - 1)
		})
		if shown != "" {
			t.Errorf("within the first second: %q", shown)
		}
	})
	t.Run("of everything and of each blob", func(t *testing.T) {
		t.Parallel()
		shown := show(t, func(handle layout.Handler) {
			handle(plan(2, 2e6))
			handle(start(1, 1e6))
			handle(bytes(1, 5e5))
			time.Sleep(2 * time.Second)
			handle(done(1, nil))
			handle(start(2, 1e6))
			time.Sleep(2 * time.Second)
		})
		for _, want := range []string{"convert", blob(1).Encoded()[:12], blob(2).Encoded()[:12], "500.0 KB / 2.0 MB"} {
			if !strings.Contains(shown, want) {
				t.Errorf("%q is not in %q", want, shown)
			}
		}
		if strings.Contains(shown, blob(1).Encoded()[:13]) {
			t.Error("digests are not shortened")
		}
	})
	t.Run("of one cache after the other", func(t *testing.T) {
		t.Parallel()
		shown := show(t, func(handle layout.Handler) {
			for n := range 3 {
				handle(plan(1, 1e6))
				handle(start(n, 1e6))
				time.Sleep(2 * time.Second)
				handle(bytes(n, 1e6))
				handle(done(n, nil))
			}
		})
		if !strings.Contains(shown, "2.0 MB / 3.0 MB") {
			t.Errorf("the bar of everything does not go on to the third: %q", shown)
		}
	})
	t.Run("nothing stays", func(t *testing.T) {
		t.Parallel()
		shown := show(t, func(handle layout.Handler) {
			handle(plan(2, 2e6))
			handle(start(1, 1e6))
			time.Sleep(2 * time.Second)
		})
		// The last thing is to go up and to erase from there.
		if !strings.HasSuffix(strings.TrimRight(shown, "\r\n"), "\x1b[J") {
			t.Errorf("it ends with %q", shown[max(0, len(shown)-80):])
		}
	})
}

// A terminal that goes away while somebody works ends the show and not the work.
func TestTerminalGoesAway(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(reader.Close(), writer.Close()); err != nil {
		t.Fatal(err)
	}
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := io.Writer(writer) // fails with every write
			var term *terminal
			if mode == progress.Bars {
				term = openTerminal(t)
				w = term.File
			}
			synctest.Test(t, func(t *testing.T) {
				handle, stop := progress.New(mode, w)
				handle(plan(3, 30))
				handle(start(1, 10))
				time.Sleep(3 * time.Second)
				if term != nil {
					_ = term.Close()
				}
				time.Sleep(3 * time.Second)
				handle(start(2, 10))
				handle(bytes(2, 10))
				handle(done(2, nil))
				handle(plan(3, 30))
				handle(done(1, nil))
				time.Sleep(10 * time.Second)
				stop()
			})
		})
	}
}

// Handlers are called from several goroutines at once.
func TestConcurrently(t *testing.T) {
	t.Parallel()
	const workers, blobs = 8, 50
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			out := &log{}
			w := io.Writer(out)
			var term *terminal
			if mode == progress.Bars {
				term = openTerminal(t)
				w = term.File
			}
			synctest.Test(t, func(t *testing.T) {
				handle, stop := progress.New(mode, w)
				handle(plan(workers*blobs, workers*blobs*10))
				var group sync.WaitGroup
				for worker := range workers {
					group.Go(func() {
						for i := range blobs {
							n := worker*blobs + i
							handle(start(n, 10))
							for range 10 {
								time.Sleep(10 * time.Millisecond)
								handle(bytes(n, 1))
							}
							handle(done(n, nil))
						}
					})
				}
				group.Wait()
				time.Sleep(6 * time.Second)
				stop()
			})
			lines := out.all()
			switch mode {
			case progress.JSON:
				want := map[string]int{"plan": 1, "start": workers * blobs, "done": workers * blobs}
				if got := wantJSONLines(t, strings.Join(lines, "")); len(got) != 3 || got["start"] != want["start"] || got["done"] != want["done"] {
					t.Errorf("%v, want %v", got, want)
				}
			case progress.Plain, progress.Auto:
				if last := lines[len(lines)-1]; last != "ocicache: done: 400 of 400 blobs, 4.0 kB of 4.0 kB\n" {
					t.Errorf("the last line is %q", last)
				}
			case progress.Trace:
				if len(lines) < 2*workers*blobs {
					t.Errorf("%d lines", len(lines))
				}
			default:
				if term.end() == "" {
					t.Error("nothing was shown")
				}
			}
		})
	}
}
