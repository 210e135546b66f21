package layout_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// A blob that was not read, or read more than once, counts once when it is done, and as far as it came when it failed.
func TestTrackSettles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		done []int64
		err  error
		want []int64
	}{
		{name: "told in full", done: []int64{4, 6}, want: []int64{4, 6}},
		{name: "not read", want: []int64{10}},
		{name: "told in part", done: []int64{4}, want: []int64{4, 6}},
		{name: "told twice", done: []int64{10, 10}, want: []int64{10, 10, -10}},
		{name: "told nothing", done: []int64{0, 10, 0}, want: []int64{10}},
		{name: "failed", done: []int64{4}, err: errors.New("failed"), want: []int64{4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []int64
			handler := layout.Handler(func(e layout.Event) {
				if e.Kind == layout.EventBytes {
					got = append(got, e.Bytes)
				}
			})
			err := handler.Track("copy", digest.FromString("x"), 10, func(done func(int64)) error {
				for _, n := range test.done {
					done(n)
				}
				return test.err
			})
			if !errors.Is(err, test.err) || !slices.Equal(got, test.want) {
				t.Errorf("%v, %v, want %v", err, got, test.want)
			}
		})
	}
}

func TestCounted(t *testing.T) {
	t.Parallel()
	var sum, lowest int64
	open := layout.Counted(t.Context(), func() (io.ReadCloser, error) {
		return io.NopCloser(iotest.HalfReader(bytes.NewReader(make([]byte, 100)))), nil
	}, func(n int64) {
		sum += n
		lowest = min(lowest, n)
	})
	if sum != 0 {
		t.Errorf("%d bytes before anything was opened", sum)
	}
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(first, make([]byte, 30)); err != nil || sum != 30 {
		t.Errorf("%d bytes, %v, want 30", sum, err)
	}
	second, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if sum != 0 || lowest != -30 {
		t.Errorf("%d bytes when it is opened again, %d taken back", sum, lowest)
	}
	if _, err := io.Copy(io.Discard, second); err != nil || sum != 100 {
		t.Errorf("%d bytes, %v, want 100", sum, err)
	}
}

func TestCountedFails(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	ctx, cancel := context.WithCancelCause(t.Context())
	none := func(n int64) { t.Errorf("%d bytes", n) }
	if _, err := layout.Counted(ctx, func() (io.ReadCloser, error) { return nil, failed }, none)(); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	r, err := layout.Counted(ctx, layout.OpenBytes([]byte("abc")), none)()
	if err != nil {
		t.Fatal(err)
	}
	cancel(failed)
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}

// A layout tells what it copies from a file without reading it, and still takes it as a file.
func TestCountedFileIntoDir(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789"), 4<<20) // more than one step
	blob := buildcache.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, link := range []bool{false, true} {
		dir, err := layout.Create(t.Context(), filepath.Join(t.TempDir(), "layout"), layout.Options{Link: link})
		if err != nil {
			t.Fatal(err)
		}
		sum, times := int64(0), 0
		open := layout.Counted(t.Context(), func() (io.ReadCloser, error) { return os.Open(path) }, func(n int64) {
			sum += n
			times++
		})
		if err := dir.Put(t.Context(), blob, open); err != nil {
			t.Fatal(err)
		}
		if !link && (sum != blob.Size || times < 2) {
			t.Errorf("%d bytes in %d steps, want %d", sum, times, blob.Size)
		}
		stored, err := dir.OpenFile(t.Context(), blob)
		if err != nil {
			t.Fatal(err)
		}
		was, errWas := os.Stat(path)
		is, errIs := stored.Stat()
		if err := errors.Join(errWas, errIs, stored.Close()); err != nil {
			t.Fatal(err)
		}
		if os.SameFile(was, is) != link {
			t.Errorf("one file: %v, want %v", !link, link)
		}
	}
}

// What a handler of the whole hears adds up to what is done, whatever the part plans.
func TestPart(t *testing.T) {
	t.Parallel()
	plan := func(count int, total int64) layout.Event {
		return layout.Event{Kind: layout.EventPlan, Verb: "convert", Count: count, Total: total}
	}
	blob := func(size int64) []layout.Event {
		return []layout.Event{
			{Kind: layout.EventStart, Total: size}, {Kind: layout.EventBytes, Bytes: size}, {Kind: layout.EventDone},
		}
	}
	for _, test := range []struct {
		name   string
		events []layout.Event
		want   []layout.Event // plans, those before the end and those of the end
	}{
		{name: "as announced", events: slices.Concat([]layout.Event{plan(2, 30)}, blob(10), blob(20))},
		{name: "in two plans", events: slices.Concat([]layout.Event{plan(1, 10)}, blob(10), []layout.Event{plan(1, 20)}, blob(20))},
		{name: "skipped", want: []layout.Event{plan(-2, -30)}},
		{name: "less", events: slices.Concat([]layout.Event{plan(1, 10)}, blob(10)), want: []layout.Event{plan(-1, -20)}},
		{
			name:   "more",
			events: slices.Concat([]layout.Event{plan(3, 70)}, blob(10), blob(20), blob(40)), want: []layout.Event{plan(1, 40)},
		},
		{
			name:   "fewer blobs of more bytes",
			events: slices.Concat([]layout.Event{plan(1, 70)}, blob(70)), want: []layout.Event{plan(0, 40), plan(-1, 0)},
		},
		{
			name:   "not read to the end",
			events: []layout.Event{plan(2, 30), blob(20)[0], {Kind: layout.EventBytes, Bytes: 5}, blob(20)[2]},
			want:   []layout.Event{plan(-1, -25)},
		},
		{
			name:   "failed with an error",
			events: []layout.Event{plan(2, 30), blob(20)[0], {Kind: layout.EventBytes, Bytes: 5}, {Kind: layout.EventDone, Err: errors.New("failed")}},
			want:   []layout.Event{plan(-2, -25)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			announced := plan(2, 30)
			var plans []layout.Event
			left := announced
			part, end := layout.Handler(func(e layout.Event) {
				switch e.Kind {
				case layout.EventPlan:
					plans = append(plans, e)
					left.Count += e.Count
					left.Total += e.Total
				case layout.EventBytes:
					left.Total -= e.Bytes
				case layout.EventDone:
					if e.Err == nil {
						left.Count--
					}
				case layout.EventStart, layout.EventRetry:
				}
			}).Part(announced)
			for _, e := range test.events {
				part.Send(e)
			}
			end()
			end() // once more is nothing
			if !slices.Equal(plans, test.want) || left != plan(0, 0) {
				t.Errorf("got %+v, left %+v\nwant %+v", plans, left, test.want)
			}
		})
	}
	part, end := layout.Handler(nil).Part(plan(1, 1))
	part.Send(plan(1, 1))
	end()
}

// TestPartAgain says that a part that takes several attempts has one total, and is done once with each blob.
func TestPartAgain(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	attempt := func(part layout.Handler, sizes []int64, fails int) {
		var total int64
		for _, size := range sizes {
			total += size
		}
		part.Send(layout.Event{Kind: layout.EventPlan, Verb: "convert", Count: len(sizes), Total: total})
		for i, size := range sizes {
			_ = part.Track("copy", digest.FromString(string(rune('a'+i))), size, func(done func(int64)) error {
				if i >= fails {
					done(size / 2)
					return failed
				}
				return nil
			})
		}
	}
	var whole layouttest.Amounts
	sizes := []int64{10, 20, 40, 80}
	announced := layout.Event{Kind: layout.EventPlan, Verb: "convert", Count: 3, Total: 70} // one less than it turns out to be
	whole.Take(announced)
	part := layout.Handler(whole.Take).NewPart(announced)
	for _, test := range []struct {
		fails int
		want  layouttest.Amounts
	}{
		{2, layouttest.Amounts{Blobs: 4, Total: 150, Done: 2, Bytes: 30 + 20 + 40}},
		{2, layouttest.Amounts{Blobs: 4, Total: 150, Done: 2, Bytes: 30 + 20 + 40}},
		{3, layouttest.Amounts{Blobs: 4, Total: 150, Done: 3, Bytes: 70 + 40}},
		{4, layouttest.Amounts{Blobs: 4, Total: 150, Done: 4, Bytes: 150}},
	} {
		attempt(part.Begin(), sizes, test.fails)
		part.End(test.fails == len(sizes))
		if whole != test.want {
			t.Errorf("after %d of %d: got %+v, want %+v", test.fails, len(sizes), whole, test.want)
		}
	}
	part = layout.Handler(nil).NewPart(announced)
	attempt(part.Begin(), sizes, 0)
	part.End(true)
}

func TestSecondsJSON(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]string{
		0: "0", 1234567 * time.Microsecond: "1.235", 90 * time.Second: "90", time.Microsecond: "0",
	} {
		got, err := json.Marshal(layout.Effort{Moved: 1, Saved: 2, Took: layout.Seconds(took)})
		if err != nil || string(got) != `{"read":0,"moved":1,"saved":2,"seconds":`+want+`}` {
			t.Errorf("%v: %s, %v", took, got, err)
		}
		var back layout.Effort
		if err := json.Unmarshal(got, &back); err != nil || time.Duration(back.Took) != took.Round(time.Millisecond) {
			t.Errorf("%s: %v, %v", got, time.Duration(back.Took), err)
		}
	}
}
