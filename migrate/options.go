package migrate

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// Options say how a plan is worked on. The zero value is good for all of it, at once, and without a memory.
type Options struct {
	Layout   layout.Options
	Registry registry.Options // for all registries; the plan says more of each
	Parallel int              // caches at once, over all migrations; 0 means DefaultParallel
	Jobs     int              // blobs at once; 0 means DefaultJobs
	Shard    Shard
	// Only leaves out all but what State says has failed: with OnlyFailed whatever is not at its target, else for one cause.
	Only Cause
	// State is what is known of earlier runs; nil for nothing. What is there and unchanged, and what can't succeed, is left out.
	State *State
	// Record hears of all that happens, as lines of a state. An error ends the run.
	Record func(Record) error
	// Args are what a program is called with to go on with the run, for the state: a report has it from there. nil where it can't be told.
	Args []string
	// GiveUp is how long a registry may be down before its caches are left out; 0 means DefaultGiveUp.
	GiveUp time.Duration
	// Trust is convert.Options.TrustDestination.
	Trust bool
	// Version is the program's, for the state.
	Version string
	OnEvent layout.Handler
}

// OnlyFailed stands, as Options.Only, for every cause, for what was begun and not ended, and for what was never begun.
const OnlyFailed Cause = "failed"

// What Options mean when they do not say.
const (
	DefaultParallel = 4
	DefaultJobs     = 6
	DefaultGiveUp   = 5 * time.Minute
)

// partsPatience says which part of the time in which a registry may be down one request of a cache is tried again: then the cache
// waits with the others.
const partsPatience = 4

// ParseOnly reads which failures are meant.
func ParseOnly(text string) (Cause, error) {
	for _, cause := range append(Causes(), OnlyFailed) {
		if string(cause) == text {
			return cause, nil
		}
	}
	var words []string
	for _, cause := range Causes() {
		words = append(words, string(cause))
	}
	return "", fmt.Errorf("%q is no kind of failure (want %s for all of them, or %s)", text, OnlyFailed, english.WordSeries(words, "or"))
}

func (o Options) withDefaults() Options {
	if o.Parallel <= 0 {
		o.Parallel = DefaultParallel
	}
	if o.Jobs <= 0 {
		o.Jobs = DefaultJobs
	}
	if o.GiveUp <= 0 {
		o.GiveUp = DefaultGiveUp
	}
	if o.Registry.Patience <= 0 {
		o.Registry.Patience = o.GiveUp / partsPatience
	}
	if o.State == nil {
		o.State = NewState()
	}
	if o.Record == nil {
		o.Record = func(Record) error { return nil }
	}
	if o.Shard.Of > 1 || len(o.State.Runs) > 0 {
		o.Registry.Shared = true
	}
	if o.Registry.Hosts == nil {
		o.Registry.Hosts = &registry.Hosts{}
	}
	return o
}

// aliveWait is how long a registry is waited for that is asked whether it is there.
const aliveWait = 10 * time.Second

// alive returns what asks a registry whether it is there at all.
func (o Options) alive(ctx context.Context) func(host string) bool {
	return func(host string) bool {
		ctx, end := context.WithTimeout(ctx, aliveWait)
		defer end()
		return o.Registry.Hosts.Alive(ctx, host)
	}
}

// places returns how to open a place: a registry as the plan says.
func (o Options) places(plan *Plan, ref layout.Reference) places.Options {
	r := o.Registry
	said := plan.Registries[hostOf(ref)]
	if said.Rate > 0 {
		r.Rate = said.Rate
	}
	if said.TLSVerify != nil {
		r.TLSVerify = said.TLSVerify
	}
	if said.AuthFile != "" {
		r.AuthFile = said.AuthFile
	}
	if said.CertDir != "" {
		r.CertDir = said.CertDir
	}
	return places.Options{Layout: o.Layout, Registry: r}
}

// hostOf returns the registry of a reference, or "".
func hostOf(ref layout.Reference) string {
	if ref.Transport != layout.TransportRegistry {
		return ""
	}
	return registry.HostOf(ref.Path)
}

// hostsOf returns the registries of references.
func hostsOf(refs ...layout.Reference) []string {
	var names []string
	for _, ref := range refs {
		if host := hostOf(ref); host != "" {
			names = append(names, host)
		}
	}
	return names
}
