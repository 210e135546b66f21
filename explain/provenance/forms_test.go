package provenance_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/layout"
)

func parseFile(t *testing.T, path string) []*provenance.Build {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	builds, err := provenance.Parse(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return builds
}

// keys returns the keys of all steps of a build, "" for steps that have none.
func keys(b *provenance.Build) map[string]bool {
	all := map[string]bool{}
	for i, s := range b.Steps {
		for _, key := range s.Op.Keys(b.Builder, b.Pin(i)) {
			all[key.Text] = true
		}
		if m, err := s.Op.CacheMap(len(s.Inputs), b.Builder, llb.FormV17); err == nil {
			all[m.Key.Text] = true
		}
	}
	return all
}

// TestForms says that provenance of one build is the same in every form in which it comes.
func TestForms(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/", "forms/")
	same := map[string][]string{
		"builds/why/provenance.json": {
			"forms/why.dockerbuild", "forms/why.buildx-metadata-max.json", "forms/why.llb",
		},
		"builds/1-basic/provenance.json": {
			"forms/1-basic.slsa-v0.2.statement.json", "forms/1-basic.history.predicate.json",
		},
	}
	for of, others := range same {
		want := parseFile(t, filepath.Join(dir, of))[0]
		for _, other := range others {
			builds := parseFile(t, filepath.Join(dir, other))
			if len(builds) != 1 {
				t.Errorf("%s: %d builds, want 1", other, len(builds))
				continue
			}
			b := builds[0]
			if got, want := keys(b), keys(want); !equal(got, want) {
				t.Errorf("%s: %d keys, want the same %d as in %s", other, len(got), len(want), of)
			}
			if len(b.Steps) != len(want.Steps) || len(b.Files) != 1 || b.Files[0].Name != "Dockerfile" {
				t.Errorf("%s: %d steps of %v, want %d", other, len(b.Steps), b.Files, len(want.Steps))
			}
		}
	}
}

// TestWrapped reads provenance out of what others put around it.
func TestWrapped(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/1-basic", "forms/1-basic", "builds/6-platform/context")
	statement, err := os.ReadFile(filepath.Join(dir, "builds/1-basic/provenance.json"))
	if err != nil {
		t.Fatal(err)
	}
	bare, err := os.ReadFile(filepath.Join(dir, "forms/1-basic.history.predicate.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := parseFile(t, filepath.Join(dir, "builds/1-basic/provenance.json"))[0].Steps
	for name, wrapped := range map[string]any{
		"imagetools":                        map[string]any{"SLSA": json.RawMessage(bare)},
		"imagetools of several platforms":   map[string]any{"linux/amd64": map[string]any{"SLSA": json.RawMessage(bare)}},
		"an envelope":                       map[string]any{"payloadType": "application/vnd.in-toto+json", "payload": statement},
		"the metadata of bake":              map[string]any{"app": map[string]any{"buildx.build.provenance": json.RawMessage(bare)}},
		"the metadata of several platforms": map[string]any{"buildx.build.provenance/linux/amd64": json.RawMessage(bare)},
	} {
		text, err := json.Marshal(wrapped)
		if err != nil {
			t.Fatal(err)
		}
		builds, err := provenance.Parse(text)
		if err != nil || len(builds) != 1 || len(builds[0].Steps) != len(want) {
			t.Errorf("%s: %d builds, %v, want one with %d steps", name, len(builds), err, len(want))
		}
	}
}

func equal(a, b map[string]bool) bool {
	for key := range a {
		if !b[key] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestImage(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "forms/image-layout")
	place, err := layout.Open(filepath.Join(dir, "forms/image-layout"), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := layout.OneImage(t.Context(), place, "")
	if err != nil {
		t.Fatal(err)
	}
	builds, err := provenance.FromImage(t.Context(), place, entry.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	want := keys(parseFile(t, filepath.Join(dir, "builds/why/provenance.json"))[0])
	if len(builds) != 1 || !equal(keys(builds[0]), want) {
		t.Errorf("%d builds, want one with the steps of why", len(builds))
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "forms/why.buildx-metadata-default.json")
	data, err := os.ReadFile(filepath.Join(dir, "forms/why.buildx-metadata-default.json"))
	if err != nil {
		t.Fatal(err)
	}
	var without *provenance.NoStepsError
	if _, err := provenance.Parse(data); !errors.As(err, &without) {
		t.Errorf("mode=min: %v, want a *NoStepsError", err)
	}
	for _, text := range []string{"", "  \n", "{}", "[]", "true", `{"predicateType":"https://spdx.dev/Document","predicate":{}}`, `{"a":{"b":1}}`} {
		if _, err := provenance.Parse([]byte(text)); !errors.Is(err, provenance.ErrNoProvenance) {
			t.Errorf("%q: %v, want ErrNoProvenance", text, err)
		}
	}
	for _, text := range []string{
		`{"buildDefinition":{"internalParameters":{"buildConfig":{"llbDefinition":[{"id":"step0","inputs":["step0:0"],"op":{"Op":{}}}]}}}}`,
		`{"buildDefinition":{"internalParameters":{"buildConfig":{"llbDefinition":[{"id":"a","op":{"Op":{}}},{"id":"a","op":{"Op":{}}}]}}}}`,
		`{"buildDefinition":{"internalParameters":{"buildConfig":{"llbDefinition":[{"id":"a","op":{"Op":{"exec":{}}}}]}}}}`,
		"\x0a\x05\x12\xff\xff\xff\xff", "\x1f\x8bnothing",
	} {
		if builds, err := provenance.Parse([]byte(text)); err == nil {
			t.Errorf("%q: %d builds, want an error", text, len(builds))
		}
	}
}

// TestStatus reads what the history says of the steps.
func TestStatus(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "forms/why.dockerbuild")
	b := parseFile(t, filepath.Join(dir, "forms/why.dockerbuild"))[0]
	named, told := 0, 0
	for _, s := range b.Steps {
		if s.Name != "" {
			named++
		}
		if s.Cached != nil {
			told++
		}
	}
	if named != 12 || told != 12 {
		t.Errorf("%d steps with a name, %d with a flag, want 12 and 12", named, told)
	}
}

func TestStages(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/", "why-variants/27-no-cache-filter/")
	b := parseFile(t, filepath.Join(dir, "builds/4-args/provenance.json"))[0]
	for id, want := range map[string]string{"step1": "stage0", "step2": "one", "step9": "", "step11": ""} {
		for i, s := range b.Steps {
			if s.ID != id {
				continue
			}
			if stage, ok := b.StageOf(i); !ok || stage.Name != want {
				t.Errorf("%s: stage %q, %t, want %q", id, stage.Name, ok, want)
			}
		}
	}
	b = parseFile(t, filepath.Join(dir, "why-variants/27-no-cache-filter/provenance.json"))[0]
	var ignored []string
	for _, s := range b.Steps {
		if s.IgnoreCache {
			ignored = append(ignored, s.ID)
		}
	}
	if len(ignored) != 2 || ignored[0] != "step7" || ignored[1] != "step8" {
		t.Errorf("no-cache is said of %v, want step7 and step8", ignored)
	}
}

// TestNoCacheNames says that names of stages are taken as BuildKit takes them: as they are, an empty one for all stages without a name.
func TestNoCacheNames(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "why-variants/27-no-cache-filter/")
	data, err := os.ReadFile(filepath.Join(dir, "why-variants/27-no-cache-filter/provenance.json"))
	if err != nil {
		t.Fatal(err)
	}
	const names = `"no-cache":"assets"`
	if !strings.Contains(string(data), names) {
		t.Fatalf("no %s in provenance", names)
	}
	for list, want := range map[string]string{
		"assets": "7 8", "build,ASSETS": "3 4 5 7 8", "build, assets": "3 4 5", "assets ": "", "build,": "3 4 5 6 9 10 11", "none": "",
		"": "3 4 5 6 7 8 9 10 11",
	} {
		builds, err := provenance.Parse([]byte(strings.ReplaceAll(string(data), names, `"no-cache":"`+list+`"`)))
		if err != nil {
			t.Fatal(err)
		}
		var ignored []string
		for _, s := range builds[0].Steps {
			if s.IgnoreCache {
				ignored = append(ignored, strings.TrimPrefix(s.ID, "step"))
			}
		}
		if got := strings.Join(ignored, " "); got != want {
			t.Errorf("no-cache %q is said of %s, want %s", list, got, want)
		}
	}
}

// TestDeclares tells arguments of the build from variables.
func TestDeclares(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/4-args/provenance.json")
	b := parseFile(t, filepath.Join(dir, "builds/4-args/provenance.json"))[0]
	for name, want := range map[string][2]bool{
		"VERSION": {true, false}, "LATE": {true, false}, "V": {false, true}, "W": {false, true}, "value": {}, "raw": {}, "x": {},
	} {
		if arg, env := b.Declares(name); arg != want[0] || env != want[1] {
			t.Errorf("%s: %t, %t, want %v", name, arg, env, want)
		}
	}
}
