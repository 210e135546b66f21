package progress

import (
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/ocicache/ocicache/layout"
)

// bars draws one bar for everything and one for each blob in progress.
type bars struct {
	mu    sync.Mutex
	w     io.Writer
	show  <-chan struct{} // closed when bars are drawn
	ended bool
	pool  *mpb.Progress
	all   *mpb.Bar
	total int64
	blobs map[digest.Digest]*mpb.Bar
}

func newBars(w io.Writer) (layout.Handler, func()) {
	show := make(chan struct{})
	timer := time.AfterFunc(quiet, func() { close(show) })
	b := &bars{
		w: w, show: show,
		pool:  mpb.New(mpb.WithOutput(w), mpb.WithWidth(64), mpb.WithRenderDelay(show)),
		blobs: map[digest.Digest]*mpb.Bar{},
	}
	return b.handle, func() {
		timer.Stop()
		b.end()
	}
}

func (b *bars) handle(e layout.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e.Kind {
	case layout.EventPlan:
		b.total += e.Total
		if b.all == nil {
			b.all = b.add(e.Verb, 0) // of no known size, or it would be done with the first cache
		}
		if b.all != nil {
			b.all.SetTotal(max(b.total, 1), false) // 0 would end it
		}
	case layout.EventStart:
		if bar := b.blobs[e.Digest]; bar != nil {
			bar.Abort(true) // begun twice
		}
		b.blobs[e.Digest] = b.add(short(e.Digest), e.Total)
	case layout.EventBytes:
		if bar := b.blobs[e.Digest]; bar != nil {
			bar.IncrInt64(e.Bytes)
		}
		if b.all != nil {
			b.all.IncrInt64(e.Bytes)
		}
	case layout.EventDone:
		if bar := b.blobs[e.Digest]; bar != nil {
			bar.Abort(true)
			delete(b.blobs, e.Digest)
		}
	case layout.EventRetry:
		b.say(printable(retryLine(e)) + "\n")
	}
}

// short returns the beginning of a digest. One that is malformed, which could hold anything, is not shown.
func short(d digest.Digest) string {
	if d.Validate() != nil {
		return "?"
	}
	return d.Encoded()[:12]
}

// say writes a line, above the bars if there are any. The pool drops lines until it draws.
func (b *bars) say(line string) {
	select {
	case <-b.show:
		_, _ = io.WriteString(b.pool, line) // which writes nothing after the end
	default:
		if !b.ended {
			_, _ = io.WriteString(b.w, line)
		}
	}
}

// printable drops what could move the cursor.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line)
}

// add adds a bar. It returns nil if nothing can be shown any more: after the end, or when the terminal has gone away.
func (b *bars) add(name string, total int64) *mpb.Bar {
	bar, err := b.pool.Add(total, mpb.BarStyle().Build(),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(name, decor.WC{W: 13, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.CountersKiloByte("% .1f / % .1f"), decor.Name("  "), decor.AverageSpeed(decor.SizeB1000(0), "% .1f")))
	if err != nil {
		return nil
	}
	return bar
}

// end removes what is left of the bars, so that they do not stand between the lines of a result or an error.
func (b *bars) end() {
	b.mu.Lock()
	for _, bar := range b.blobs {
		if bar != nil {
			bar.Abort(true)
		}
	}
	if b.all != nil {
		b.all.Abort(true)
	}
	b.ended = true
	b.mu.Unlock()
	b.pool.Wait()
}
