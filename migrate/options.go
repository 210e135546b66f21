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

// Options say how to work on a plan. The zero value does all of it in one run, without a state.
type Options struct {
	Layout   layout.Options
	Registry registry.Options // for all registries; the plan may override it for each
	Parallel int              // caches at once, over all migrations; 0 means DefaultParallel
	Jobs     int              // blobs at once; 0 means DefaultJobs
	Shard    Shard
	// Only restricts the run to what State says has failed: with OnlyFailed to whatever is not at its target, else to one cause.
	Only Cause
	// State is what is known of earlier runs; nil for nothing. Caches that are there and unchanged, or can't succeed, are left out.
	State *State
	// Record receives everything that happens, as lines of a state, one after the other. An error ends the run.
	Record func(Record) error
	// Args are the program's arguments for continuing the run. The state keeps them, for reports. nil if they can't be told.
	Args []string
	// GiveUp is how long a registry may be down before its caches are left out; 0 means DefaultGiveUp.
	GiveUp time.Duration
	// Trust is convert.Options.TrustDestination.
	Trust bool
	// Version is the version of the program, for the state.
	Version string
	OnEvent layout.Handler
}

// OnlyFailed means, as Options.Only, every cause, what was begun but did not end, and what was never begun.
const OnlyFailed Cause = "failed"

// The defaults of Options.
const (
	DefaultParallel = 4
	DefaultJobs     = 6
	DefaultGiveUp   = 5 * time.Minute
)

// partsPatience divides the time for which a registry may be down: for one part of it a single request of a cache is retried, then the
// cache waits with the others.
const partsPatience = 4

// ParseOnly reads which failures Options.Only means.
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

// aliveWait is how long to wait for the answer of a registry that is asked whether it is up.
const aliveWait = 10 * time.Second

// alive returns a function that asks a registry whether it is up at all.
func (o Options) alive(ctx context.Context) func(host string) bool {
	return func(host string) bool {
		ctx, end := context.WithTimeout(ctx, aliveWait)
		defer end()
		return o.Registry.Hosts.Alive(ctx, host)
	}
}

// places returns the options for opening a place. For a registry, those of the plan come first.
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
