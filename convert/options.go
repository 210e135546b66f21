package convert

import (
	"fmt"
	"runtime"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// AutoForm stands, as the form in Options, for the best one that the destination takes, by its Rules.
const AutoForm buildcache.Form = "auto"

// Options say what a conversion does. The zero value changes nothing.
type Options struct {
	Form        buildcache.Form        // "" keeps the form
	Compression buildcache.Compression // "" keeps the layers
	Level       int                    // 0 means the compression's default
	Force       bool                   // recompress layers that have the compression already
	Jobs        int                    // layers at once; 0 means one for each processor
	DryRun      bool                   // make the plan, write nothing
	// Rules are what the destination takes; nil stands for everything.
	Rules Rules
	// TrustDestination takes layers that the destination claims to hold in the wanted compression without reading them.
	// Otherwise they are read, decoded and compared first: whoever can write to one tag there could choose what is in
	// others.
	TrustDestination bool
	OnEvent          layout.Handler

	held    *holdings         // what the destination holds, where that was looked at before; nil means to look
	decoder *compress.Decoder // shared by all layers of a run
}

// Rules are what a destination takes. A registry.Profile is one.
type Rules interface {
	// Candidates returns the forms in which to send a cache that has the form source, the best one first; none means its
	// own. The next one is tried where RefusesForm says so.
	Candidates(source buildcache.Form) []buildcache.Form
	// RefusesForm reports whether an error of the destination says that it does not take the form.
	RefusesForm(err error) bool
	// Check says what the destination will not take of a cache; errors stop the conversion before anything is written. It
	// sees the source's layers in the result's form.
	Check(cache *layout.Cache) []buildcache.Problem
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
		return fmt.Errorf("%d jobs at once: want 1 or more, or 0 for one for each processor", o.Jobs)
	}
	if o.Compression == "" {
		if o.Level != 0 || o.Force {
			return fmt.Errorf("a level, or force, without a compression")
		}
		return nil
	}
	return compress.CheckLevel(o.Compression, o.Level)
}

// copies reports whether the options change nothing.
func (o Options) copies() bool { return o.Form == "" && o.Compression == "" }

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

func (o Options) recipe(from buildcache.Descriptor) layout.Recipe {
	return layout.Recipe{
		From: from.Digest, Compression: o.Compression, Level: o.Level, Version: compress.Version(o.Compression),
	}
}
