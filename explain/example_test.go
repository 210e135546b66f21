package explain_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/layout"
)

// A build with another variable is held against the cache of the build before.
func ExampleNewReport() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "explain")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := explaintest.UnpackTo(ctx, dir, "builds/", "why-variants/04-env/"); err != nil {
		panic(err)
	}

	place, err := layout.Open(filepath.Join(dir, "builds/why/cache"), layout.Options{})
	if err != nil {
		panic(err)
	}
	entry, err := layout.OneCache(ctx, place, "")
	if err != nil {
		panic(err)
	}
	cache, err := layout.Load(ctx, place, entry)
	if err != nil {
		panic(err)
	}
	parse := func(name string) []*provenance.Build {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			panic(err)
		}
		builds, err := provenance.Parse(data)
		if err != nil {
			panic(err)
		}
		return builds
	}

	o := explain.ReportOptions{Why: true}
	o.Old = parse("builds/why/provenance.json")
	o.Contexts = explain.Contexts{"context": filepath.Join(dir, "builds/why/context")}
	o.Layers = explain.NewLayers(place, cache, explain.LayersOptions{})
	report, err := explain.NewReport(ctx, cache, parse("why-variants/04-env/provenance.json"), o)
	if err != nil {
		panic(err)
	}
	for _, s := range report.Steps {
		if s.Cause != nil {
			fmt.Printf("%s %s: %s\n", s.Where, s.Text, s.Cause.Text)
		}
	}
	// Output:
	// Dockerfile:6 RUN cat a.txt b.txt > /built: ENV MODE fast -> slow
	// Dockerfile:7 RUN echo $FLAVOUR > /flavour: follows line 6
}
