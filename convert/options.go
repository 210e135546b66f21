package convert

import (
	"runtime"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// Options say what a conversion does. The zero value changes nothing.
type Options struct {
	Form buildcache.Form // "" keeps the form
	// FormsFor returns the forms to try for a cache of some form, instead of Form; the next one is tried for as long
	// as Refused says of an error that the destination does not take the form. None means the cache's own.
	FormsFor    func(source buildcache.Form) []buildcache.Form
	Refused     func(error) bool
	Compression buildcache.Compression // "" keeps the layers
	Level       int                    // 0 means the compression's default
	Force       bool                   // recompress layers that have the compression already
	Jobs        int                    // layers at once; 0 means one for each processor
	DryRun      bool                   // make the plan, write nothing
	OnEvent     layout.Handler
	// Preflight says what the destination will not take; errors stop the conversion before anything is written. It
	// sees the source's layers in the result's form.
	Preflight func(*layout.Cache) []buildcache.Problem
	// Holdings are what the destination holds already; nil means to look.
	Holdings Holdings
}

// Check says whether the options go together.
func (o Options) Check() error {
	if o.Compression == "" {
		return nil
	}
	return compress.CheckLevel(o.Compression, o.Level)
}

// copies says whether the options change nothing.
func (o Options) copies() bool { return o.Form == "" && o.FormsFor == nil && o.Compression == "" }

// forms returns the forms to try for a cache.
func (o Options) forms(source buildcache.Form) []buildcache.Form {
	if o.FormsFor != nil {
		if forms := o.FormsFor(source); len(forms) > 0 {
			return forms
		}
	}
	if o.Form != "" {
		return []buildcache.Form{o.Form}
	}
	return []buildcache.Form{source}
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
