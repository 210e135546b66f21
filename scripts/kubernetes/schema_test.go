package kubernetes

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/ocicache/ocicache/migrate"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(migrate.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("plan.schema.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("plan.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// says reports whether the schema takes a plan.
func says(t *testing.T, s *jsonschema.Schema, plan string) error {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(plan))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(document)
}

// planBlock matches a plan in a document.
var planBlock = regexp.MustCompile("(?s)\n```yaml\n(version: 1\n.*?)```\n")

// TestExamples says that every plan that is shown somewhere is one, for the schema as for the reader.
func TestExamples(t *testing.T) {
	s := schema(t)
	plans := map[string]string{}
	for _, pattern := range []string{"*plan*.yaml", "../examples/*plan*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			plans[path] = string(raw)
		}
	}
	text, err := os.ReadFile("../../docs/migrations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range planBlock.FindAllSubmatch(text, -1) {
		plans["docs: "+string(block[1])] = string(block[1])
	}
	if len(plans) < 3 {
		t.Fatalf("there are %d plans", len(plans))
	}
	for name, plan := range plans {
		if err := says(t, s, plan); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := migrate.ParsePlan(name, []byte(plan)); err != nil {
			t.Error(err)
		}
	}
}

// TestAgree says that the schema takes what the reader does, and refuses what it refuses for its keys and words.
func TestAgree(t *testing.T) {
	s := schema(t)
	for plan, want := range map[string]bool{
		"{version: 1}":       true,
		"{version: 2}":       false,
		"{}":                 false,
		"{version: 1, x: 1}": false,
		"{version: 1, registries: {a.example: {rate: 0.5, transfers: 1, tls_verify: true, authfile: f, cert_dir: d}}}": true,
		"{version: 1, registries: {a.example: {rate: 0}}}":                                                             false,
		"{version: 1, registries: {a.example: {transfers: 0}}}":                                                        false,
		"{version: 1, registries: {a.example: {transfers: 2000}}}":                                                     false,
		"{version: 1, registries: {a.example: {tls-verify: true}}}":                                                    false,
		"{version: 1, defaults: {to: oci-index, compression: zstd, level: 3, force: false, for: ghcr.io}}":             true,
		"{version: 1, defaults: {to: keep, compression: keep}}":                                                        true,
		"{version: 1, defaults: {to: tar}}":                                                                            false,
		"{version: 1, defaults: {compression: xz}}":                                                                    false,
		"{version: 1, defaults: {level: -1}}":                                                                          false,
		"{version: 1, defaults: {source: a}}":                                                                          false,
		"{version: 1, migrations: [{source: a, target: b, to: artifact, tags: {allow: x, deny: [y, 1.0], min: 0}}]}":   true,
		"{version: 1, migrations: [{source: [a, c], target: 'b/{repository}'}]}":                                       true,
		"{version: 1, migrations: [{source: [], target: b}]}":                                                          false,
		"{version: 1, migrations: [{source: a}]}":                                                                      false,
		"{version: 1, migrations: [{target: a}]}":                                                                      false,
		"{version: 1, migrations: [{source: a, target: b, tag: c}]}":                                                   false,
		"{version: 1, migrations: [{source: a, target: b, tags: {min: -1}}]}":                                          false,
		"{version: 1, migrations: {source: a, target: b}}":                                                             false,
	} {
		_, err := migrate.ParsePlan("p", []byte(plan))
		if said := says(t, s, plan); (said == nil) != want || (err == nil) != want {
			t.Errorf("%s: want %t; the schema says %v, the reader %v", plan, want, said, err)
		}
	}
}
