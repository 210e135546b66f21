package convert

import (
	"context"
	"fmt"
	"runtime"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// AutoForm is, as the form in Options, the best one that the destination takes by its Rules.
const AutoForm buildcache.Form = "auto"

// Options say what a conversion does. The zero value changes nothing.
type Options struct {
	Form        buildcache.Form        // "" keeps the form
	Compression buildcache.Compression // "" keeps the layers
	Level       int                    // 0 means the compression's default
	Force       bool                   // recompress layers that have the compression already
	Jobs        int                    // layers at once; 0 means one for each processor
	DryRun      bool                   // make the plan, write nothing
	// Prune drops results from the cache to be written, and what only they need; it never changes the source. The function Prune is
	// for pruning in place. Fit counts what is written, in its form and compression.
	Prune buildcache.PruneRules
	// Rules are what the destination takes; nil means everything.
	Rules Rules
	// TrustDestination takes layers that the destination claims to hold in the wanted compression without reading them.
	// Otherwise they are read, decoded and compared first: whoever can write to one tag there could choose what is in
	// others.
	TrustDestination bool
	OnEvent          layout.Handler
	// Slot waits until one more layer may be worked on, to bound several syncs together; release returns the slot. nil leaves the
	// bound to Jobs.
	Slot func(ctx context.Context) (release func(), err error)

	// listed is what the tag named when the destination was listed, a zero entry for none; nil means to ask. A tag that has
	// moved since is not overwritten.
	listed  *layout.Entry
	held    *holdings         // what the destination holds, if that is known already; nil means to look
	made    *made             // what this run has made so far, for all caches of a sync
	decoder *compress.Decoder // shared by all layers of a run
	deep    bool              // read what the destination has in the end
	look    bool              // look at what the destination has in the end
	// Shared by the caches of a sync; nil if there is only one cache.
	slots    chan struct{} // one for each layer that may be worked on at a time
	turns    *turns
	promised *promises
	// spent is told what a failed conversion took, and brought of each layer that was written. Either may be nil.
	spent   func(layout.Effort)
	brought func(layer digest.Digest)
	// before waits until the caches before this one are done: tags move in their order, so that the result is always the same.
	// It fails if this one is to be left out.
	before func(ctx context.Context) error
}

// Rules are what a destination takes. A registry.Profile is one.
type Rules interface {
	// Candidates returns the forms in which to send a cache of the form source, best first; none means its own. The next one is
	// tried if RefusesForm says so.
	Candidates(source buildcache.Form) []buildcache.Form
	// RefusesForm reports whether an error of the destination says that it doesn't take the form.
	RefusesForm(err error) bool
	// Check says what the destination won't take of a cache; errors stop the conversion before anything is written. It
	// sees the source's layers in the result's form.
	Check(cache *layout.Cache) []buildcache.Problem
}

// normal returns options that mean the same, but whose level is 0 if it makes no difference.
func (o Options) normal() Options {
	o.Level = compress.Level(o.Compression, o.Level)
	if o.made == nil {
		o.made = &made{}
	}
	return o
}

// Check returns an error for options that make no sense, alone or together.
func (o Options) Check() error {
	if o.Form != "" && o.Form != AutoForm {
		if err := buildcache.CheckForm(o.Form); err != nil {
			return err
		}
	}
	if o.Form == AutoForm && o.Rules == nil {
		return fmt.Errorf("the form %q needs the rules of a destination to go by", AutoForm)
	}
	if o.Jobs < 0 {
		return fmt.Errorf("%d jobs at once: want 1 or more, or 0 for one per processor", o.Jobs)
	}
	if o.Compression == "" {
		if o.Level != 0 || o.Force {
			return fmt.Errorf("a level or force needs a compression")
		}
		return nil
	}
	return compress.CheckLevel(o.Compression, o.Level)
}

// copies reports whether the options change nothing.
func (o Options) copies() bool { return o.Form == "" && o.Compression == "" && !o.prunes() }

// prunes reports whether the options drop results.
func (o Options) prunes() bool { return o.Prune != (buildcache.PruneRules{}) }

// forms returns the forms to try for a cache.
func (o Options) forms(source buildcache.Form) []buildcache.Form {
	switch o.Form {
	case "":
		return []buildcache.Form{source}
	case AutoForm:
		if forms := o.Rules.Candidates(source); len(forms) > 0 {
			return forms
		}
		return []buildcache.Form{source}
	default:
		return []buildcache.Form{o.Form}
	}
}

func (o Options) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

// slot waits until one more layer may be worked on.
func (o Options) slot(ctx context.Context) (release func(), err error) {
	if o.Slot != nil {
		return o.Slot(ctx)
	}
	if err := context.Cause(ctx); err != nil || o.slots == nil {
		return func() {}, err
	}
	select {
	case o.slots <- struct{}{}:
		return func() { <-o.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (o Options) recipe(from buildcache.Descriptor) layout.Recipe {
	return layout.Recipe{
		From: from.Digest, Compression: o.Compression, Level: o.Level, Version: compress.Version(o.Compression),
	}
}
