package explain_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
)

// TestOwnOfTwins says that what is changed of a step beside what it stands on is told of its own files, and not of those of a step with
// the same operation.
func TestOwnOfTwins(t *testing.T) {
	t.Parallel()
	dir := explaintest.UnpackTwins(t)
	cache := openCache(t, filepath.Join(dir, "cache"))
	at := filepath.Join(dir, "variants/ab")
	b := buildsOf(t, filepath.Join(at, "provenance.json"))[0]
	for i, s := range b.Steps {
		if s.Op.File != nil && lineOf(b, i) == 2 {
			s.Op.File.Actions[0].Mkdir.Path = "/other"
		}
	}
	o := explain.WhyOptions{}
	o.Contexts = explain.Contexts{"context": changed(t, filepath.Join(dir, "context"), filepath.Join(at, "change.sh"))}
	o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
	verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
	if err != nil {
		t.Fatal(err)
	}
	own := map[int]string{}
	for _, v := range verdicts {
		if v.Cause == nil || v.Cause.Own == nil {
			continue
		}
		var text strings.Builder
		for _, f := range v.Cause.Own.Files {
			text.WriteString(f.Path + " " + string(f.Change) + ";")
		}
		own[lineOf(b, v.Step)] += text.String()
	}
	if own[4] != "a/src/util content;" || own[7] != "b/src/x1 content;" {
		t.Errorf("%v, want what is changed of lines 4 and 7", own)
	}
}

// TestOneOfTwins says what is changed of one of two steps that had the same operation.
func TestOneOfTwins(t *testing.T) {
	t.Parallel()
	dir := explaintest.UnpackTwins(t)
	cache := openCache(t, filepath.Join(dir, "cache"))
	for _, line := range []int{5, 8} {
		b := buildsOf(t, filepath.Join(dir, "provenance.json"))[0]
		for i, s := range b.Steps {
			if s.Op.File != nil && lineOf(b, i) == line {
				s.Op.File.Actions[0].Mkdir.Mode = 0o700
			}
		}
		o := explain.WhyOptions{Old: buildsOf(t, filepath.Join(dir, "provenance.json"))}
		o.Contexts = explain.Contexts{"context": filepath.Join(dir, "context")}
		o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
		verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
		if err != nil {
			t.Fatal(err)
		}
		if causes := causeLines(b, verdicts); causes[line] != "operation actions[0].mode" {
			t.Errorf("line %d: %v, want its mode", line, causes)
		}
	}
}
