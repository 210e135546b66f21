package convert

import (
	"runtime"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// Options say what a conversion does. The zero value changes nothing.
type Options struct {
	Form        buildcache.Form        // "" keeps the form
	Compression buildcache.Compression // "" keeps the layers
	Level       int                    // 0 means the compression's default
	Force       bool                   // recompress layers that have the compression already
	Jobs        int                    // layers at once; 0 means one for each processor
	DryRun      bool                   // make the plan, write nothing
	OnEvent     layout.Handler
}

// Check says whether the options go together.
func (o Options) Check() error {
	if o.Compression == "" {
		return nil
	}
	return compress.CheckLevel(o.Compression, o.Level)
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
