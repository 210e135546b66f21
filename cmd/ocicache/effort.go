package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ocicache/ocicache/internal/progress"
	"github.com/ocicache/ocicache/layout"
)

// effort is what a command read, wrote, sent and saved, in bytes of blobs.
type effort struct {
	Read    int64 `json:"read,omitempty"`
	Written int64 `json:"written,omitempty"` // to this machine
	Sent    int64 `json:"sent,omitempty"`    // to a registry
	Saved   int64 `json:"saved,omitempty"`   // neither written nor sent, because it was already there
}

// effortOf counts what was moved as written to this machine or as sent elsewhere.
func effortOf(e layout.Effort, to layout.Reference) effort {
	all := effort{Read: e.Read, Written: e.Moved, Saved: e.Saved}
	if to.IsFar() {
		all.Written, all.Sent = 0, e.Moved
	}
	return all
}

func (r convertResult) effort() effort { return effortOf(sumOf(r.Caches), r.to) }
func (r mergeResult) effort() effort   { return effortOf(r.Effort, r.to) }
func (r extractResult) effort() effort { return effortOf(r.Effort, r.to) }
func (r syncResult) effort() effort    { return effortOf(r.Effort, r.to) }
func (r packResult) effort() effort {
	return effort{Read: r.Packed.Bytes, Written: r.Size, Saved: r.Required.Bytes}
}

func (r unpackResult) effort() effort {
	return effort{Read: r.Written.Bytes + r.FromBase.Bytes, Written: r.Written.Bytes + r.FromBase.Bytes, Saved: r.Present.Bytes}
}

func sumOf(results []convertedCache) (sum layout.Effort) {
	for _, r := range results {
		sum.Read, sum.Moved, sum.Saved = sum.Read+r.Read, sum.Moved+r.Moved, sum.Saved+r.Saved
	}
	return sum
}

// longRun is how long a command may take before it says how long it took.
const longRun = time.Second

// sayEnd says how long work on blobs took, if that was long, and how much was moved.
func (a *app) sayEnd(err error) {
	took := time.Since(a.begun)
	if err != nil && !errors.Is(err, errFound) || !a.planned.Load() || took < longRun {
		return
	}
	switch progress.Mode(a.progress) {
	case progress.None:
	case progress.JSON:
		a.sayLine(struct {
			Event   string         `json:"event"`
			Seconds layout.Seconds `json:"seconds"`
			effort
		}{"end", layout.Seconds(took), a.effort})
	default:
		fmt.Fprintf(a.stderr, "ocicache: took %.1f s%s\n", took.Seconds(), a.effort)
	}
}

// String lists the parts that are not zero, after a colon.
func (e effort) String() string {
	var parts []string
	for _, part := range []struct {
		what  string
		bytes int64
	}{{"read", e.Read}, {"wrote", e.Written}, {"sent", e.Sent}, {"saved", e.Saved}} {
		if part.bytes > 0 {
			parts = append(parts, part.what+" "+size(part.bytes))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}
