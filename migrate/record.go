package migrate

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// StateVersion is the version of the lines of a state.
const StateVersion = 1

// Event is what a line of a state reports.
type Event string

// The events. The names are part of the interface: scripts match them.
const (
	EventRun      Event = "run"       // a run begins; its line has everything that is not about one cache
	EventBegun    Event = "begun"     // work on a cache begins; if no other line follows, it did not end
	EventDone     Event = "done"      // it is at its target, proved
	EventThere    Event = "there"     // it was already there
	EventFailed   Event = "failed"    // it is not at its target
	EventNotTried Event = "not-tried" // its registry had been given up
	// EventInterrupted says that a cache was begun, and that the run was interrupted before it ended.
	EventInterrupted Event = "interrupted"
	EventEnded       Event = "ended" // a run ends; the line says how much is left to do
)

// isOurs reports whether a line has what lines of a state have. Other programs, too, have events called "run" and "done".
func (r Record) isOurs() bool {
	switch r.Event {
	case EventRun:
		return r.Version != 0
	case EventBegun, EventDone, EventThere, EventFailed, EventNotTried, EventInterrupted:
		return r.Source != "" && r.Target != ""
	case EventEnded:
		return !r.Time.IsZero()
	}
	return false
}

// Record is a line of a state.
type Record struct {
	Time  time.Time `json:"time"`
	Event Event     `json:"event"`

	// About a run, and its end.
	Version  int    `json:"version,omitempty"`
	Ocicache string `json:"ocicache,omitempty"` // the program's version
	Shard    string `json:"shard,omitempty"`
	Only     Cause  `json:"only,omitempty"` // Options.Only
	// Args is Options.Args.
	Args []string `json:"args,omitempty"`
	Left int      `json:"left,omitempty"` // how much of what was planned is not at its target
	// Interrupted says, at an end, that the run was interrupted: what it had not reached counts as not tried, as far as it is known.
	Interrupted bool `json:"interrupted,omitempty"`
	NotTried    int  `json:"notTried,omitempty"` // how many of Left have no line

	// About a cache; or, without a tag and a digest, about a source that could not be looked at.
	Source string          `json:"source,omitempty"` // without the tag
	Tag    string          `json:"tag,omitempty"`
	Target string          `json:"target,omitempty"` // with the tag
	As     string          `json:"as,omitempty"`     // what it was to become
	From   digest.Digest   `json:"from,omitempty"`
	To     digest.Digest   `json:"to,omitempty"`
	Form   buildcache.Form `json:"form,omitempty"`

	// What this attempt took. Moved is how many bytes were sent, Lost how many of them were not confirmed, Saved how many did not have to be
	// sent, except those that an earlier attempt had sent.
	Moved    int64          `json:"moved,omitempty"`
	Lost     int64          `json:"lost,omitempty"`
	Saved    int64          `json:"saved,omitempty"`
	Requests int64          `json:"requests,omitempty"`
	Took     layout.Seconds `json:"seconds,omitempty"`
	// Freed is what rules dropped from the cache on its way.
	Freed []buildcache.Freed `json:"freed,omitempty"`

	Cause Cause  `json:"cause,omitempty"`
	Error string `json:"error,omitempty"`

	err error // the error itself, for a failure in this run
}

// job is what lines about one cache have in common.
type job struct{ source, tag, target, as string }

func (r Record) job() job { return job{r.Source, r.Tag, r.Target, r.As} }

// isOver reports whether a cache is at its target.
func (r Record) isOver() bool { return r.Event == EventDone || r.Event == EventThere }

// hasFailed reports whether the line gives a cause why something is not at its target.
func (r Record) hasFailed() bool { return r.Event == EventFailed || r.Event == EventNotTried }

// isSource reports whether the line is about a source that could not be worked on.
func (r Record) isSource() bool { return r.Tag == "" && r.From == "" }
