package migrate

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// StateVersion is the version of the lines of a state.
const StateVersion = 1

// Event says what a line of a state tells.
type Event string

// The events. The names are part of the interface: scripts match them.
const (
	EventRun      Event = "run"       // a run begins; all that has no cache is said of it
	EventBegun    Event = "begun"     // a cache is worked on; where no other line follows, it did not end
	EventDone     Event = "done"      // it is at its target, proved
	EventThere    Event = "there"     // it was there already
	EventFailed   Event = "failed"    // it is not
	EventNotTried Event = "not-tried" // its registry was given up before
	// EventInterrupted says that a cache was begun, and ended by an interruption of the run.
	EventInterrupted Event = "interrupted"
	EventEnded       Event = "ended" // a run ends, with what there is to do left
)

// isOurs reports whether a line has what those of a state have. Other programs have events called "run" and "done", too.
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

	// Of a run, and of its end.
	Version  int    `json:"version,omitempty"`
	Ocicache string `json:"ocicache,omitempty"` // the program's version
	Shard    string `json:"shard,omitempty"`
	Only     Cause  `json:"only,omitempty"` // Options.Only
	// Args is Options.Args.
	Args []string `json:"args,omitempty"`
	Left int      `json:"left,omitempty"` // of what was planned, what is not at its target
	// Interrupted says of an end that the run was ended before it: what it had not come to counts as not tried, as far as it is known.
	Interrupted bool `json:"interrupted,omitempty"`
	NotTried    int  `json:"notTried,omitempty"` // of Left, those of which no line says anything

	// Of a cache. Without a tag and a digest it is a source that could not be looked at.
	Source string          `json:"source,omitempty"` // without the tag
	Tag    string          `json:"tag,omitempty"`
	Target string          `json:"target,omitempty"` // with the tag
	As     string          `json:"as,omitempty"`     // what it was to become
	From   digest.Digest   `json:"from,omitempty"`
	To     digest.Digest   `json:"to,omitempty"`
	Form   buildcache.Form `json:"form,omitempty"`

	// What this attempt took. Moved is how many bytes were sent, Lost how many of them were not confirmed, Saved how many needed no sending, but
	// for those that an earlier attempt had sent.
	Moved    int64          `json:"moved,omitempty"`
	Lost     int64          `json:"lost,omitempty"`
	Saved    int64          `json:"saved,omitempty"`
	Requests int64          `json:"requests,omitempty"`
	Took     layout.Seconds `json:"seconds,omitempty"`
	// Freed is what rules dropped of the cache on its way.
	Freed []buildcache.Freed `json:"freed,omitempty"`

	Cause Cause  `json:"cause,omitempty"`
	Error string `json:"error,omitempty"`

	err error // what Error says, of a failure of this run
}

// job is what lines about one cache have in common.
type job struct{ source, tag, target, as string }

func (r Record) job() job { return job{r.Source, r.Tag, r.Target, r.As} }

// isOver reports whether a cache is at its target.
func (r Record) isOver() bool { return r.Event == EventDone || r.Event == EventThere }

// hasFailed reports whether the line has a cause why something is not at its target.
func (r Record) hasFailed() bool { return r.Event == EventFailed || r.Event == EventNotTried }

// isSource reports whether the line is about a source that could not be worked on.
func (r Record) isSource() bool { return r.Tag == "" && r.From == "" }
