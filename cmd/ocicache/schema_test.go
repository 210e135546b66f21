package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
	"github.com/ocicache/ocicache/registry"
)

// schemaDir has a JSON schema for what each command writes with --json.
var schemaDir = filepath.Join(moduleDir, "docs", "schema")

// results are what commands write.
var results = map[string]any{
	"convert": convertResult{}, "copy": convertResult{}, "sync": syncResult{}, "merge": mergeResult{}, "pack": packResult{}, "unpack": unpackResult{},
	"extract": extractResult{}, "ls": lsResult{}, "inspect": inspectResult{}, "diff": diffResult{}, "verify": verifyResult{},
	"explain": explainResult{}, "explain-caches": explainCachesResult{}, "tag": tagResult{}, "rm": rmResult{}, "prune": pruneResult{}, "gc": gcResult{},
	"repair": repairResult{}, "registries": registriesResult{}, "registries-one": registry.Profile{}, "version": versionResult{},
	"migrate-init": initResult{}, "migrate-check": migrate.Summary{}, "migrate-run": migrate.Summary{}, "migrate-run-lines": migrate.Record{}, "migrate-report": migrate.Report{},
}

// schema is as much of JSON schema as is needed to say what a Go type becomes.
type schema struct {
	Schema     string             `json:"$schema,omitempty"`
	Title      string             `json:"title,omitempty"`
	Type       string             `json:"type,omitempty"`
	Pattern    string             `json:"pattern,omitempty"`
	Items      *schema            `json:"items,omitempty"`
	Properties map[string]*schema `json:"properties,omitempty"`
	Required   []string           `json:"required,omitempty"`
	Values     *schema            `json:"additionalProperties,omitempty"` // of a map
}

// The patterns of strings that are more than text.
const (
	timePattern   = `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`
	digestFormat  = `^([a-z0-9]+:[0-9a-f]+)?$`
	schemaVersion = "https://json-schema.org/draft/2020-12/schema"
)

var textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

// schemaOf says what a type becomes in JSON. A type within itself is an object, and nothing more is said of it.
func schemaOf(t *testing.T, typ reflect.Type, within ...reflect.Type) *schema {
	t.Helper()
	switch {
	case typ.Kind() == reflect.Pointer:
		return schemaOf(t, typ.Elem(), within...)
	case slices.Contains(within, typ):
		return &schema{Type: "object"}
	case typ == reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Pattern: timePattern}
	case typ == reflect.TypeFor[digest.Digest]():
		return &schema{Type: "string", Pattern: digestFormat}
	case typ == reflect.TypeFor[layout.Seconds]():
		return &schema{Type: "number"}
	case typ.Implements(textMarshaler):
		return &schema{Type: "string"}
	case typ.Implements(marshaler) || reflect.PointerTo(typ).Implements(marshaler):
		return &schema{Type: "object"}
	}
	switch typ.Kind() { //nolint:exhaustive // nothing else is in a result
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Int64:
		return &schema{Type: "integer"}
	case reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Slice:
		return &schema{Type: "array", Items: schemaOf(t, typ.Elem(), within...)}
	case reflect.Map:
		return &schema{Type: "object", Values: schemaOf(t, typ.Elem(), within...)}
	case reflect.Struct:
		s := &schema{Type: "object", Properties: map[string]*schema{}}
		s.addFields(t, typ, append(slices.Clip(within), typ)...)
		slices.Sort(s.Required)
		return s
	}
	t.Errorf("no schema for %v", typ)
	return nil
}

func (s *schema) addFields(t *testing.T, typ reflect.Type, within ...reflect.Type) {
	t.Helper()
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported() && !field.Anonymous:
		case field.Anonymous && name == "":
			required := slices.Clone(s.Required)
			if s.addFields(t, field.Type, within...); strings.Contains(options, "omit") { // nil at times, and nothing of it there
				s.Required = required
			}
		case name == "":
			t.Errorf("%v.%s has no name in JSON", typ, field.Name)
		default:
			s.Properties[name] = schemaOf(t, field.Type, within...)
			if !strings.Contains(options, "omit") && field.Type.Kind() != reflect.Pointer {
				s.Required = append(s.Required, name)
			}
		}
	}
}

// check says where a value is not as the schema has it. What a schema does not name must not be there.
func (s *schema) check(value any, at string) string {
	switch value := value.(type) {
	case map[string]any:
		if s.Type != "object" {
			return at + ": an object"
		}
		for _, name := range s.Required {
			if _, ok := value[name]; !ok {
				return at + "." + name + ": missing"
			}
		}
		for name, member := range value {
			of := s.Properties[name]
			if of == nil {
				of = s.Values
			}
			if of == nil && s.Properties != nil {
				return at + "." + name + ": not in the schema"
			}
			if of != nil {
				if where := of.check(member, at+"."+name); where != "" {
					return where
				}
			}
		}
	case []any:
		if s.Type != "array" {
			return at + ": a list"
		}
		for i, item := range value {
			if where := s.Items.check(item, fmt.Sprintf("%s[%d]", at, i)); where != "" {
				return where
			}
		}
	case string:
		if s.Type != "string" || s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(value) {
			return at + ": " + value
		}
	case bool:
		if s.Type != "boolean" {
			return at + ": a boolean"
		}
	case float64:
		if s.Type != "number" && (s.Type != "integer" || value != float64(int64(value))) {
			return fmt.Sprintf("%s: %v", at, value)
		}
	default:
		return fmt.Sprintf("%s: %v", at, value)
	}
	return ""
}

func readSchema(t *testing.T, name string) *schema {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(schemaDir, name+".json"))
	s := &schema{}
	if err == nil {
		err = json.Unmarshal(raw, s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemas says that docs/schema is what the program writes by its types. With -update it is written.
func TestSchemas(t *testing.T) {
	t.Parallel()
	for name, result := range results {
		want := schemaOf(t, reflect.TypeOf(result))
		want.Schema, want.Title = schemaVersion, "ocicache "+strings.ReplaceAll(name, "-", " ")+" --json"
		raw, err := json.MarshalIndent(want, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(schemaDir, name+".json")
		if *update {
			if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(bytes.TrimSpace(got), raw) {
			t.Errorf("%s is out of date (%v); 'make golden' writes it", path, err)
		}
	}
	for _, cmd := range commandsBelow((&app{}).command()) {
		name := strings.ReplaceAll(strings.TrimPrefix(cmd.CommandPath(), "ocicache "), " ", "-")
		if _, ok := results[name]; !ok && cmd.Runnable() && !cmd.Hidden && cmd.Name() != "help" && name != "migrate" && !strings.HasPrefix(name, "completion") {
			t.Errorf("no schema for %s", name)
		}
	}
}

// schemaLines are command lines whose results are held against schemas, in their order.
var schemaLines = [][2]string{
	{"convert", "convert a --compression zstd"},
	{"convert", "convert many $REGISTRY/x:y --tag v1 --dry-run"},
	{"copy", "copy a b"},
	{"copy", "copy a b"},
	{"sync", "sync many $REGISTRY/synced"},
	{"sync", "sync many empty --match v1 --dry-run"},
	{"sync", "sync many $REGISTRY/synced --delete"},
	{"merge", "merge a many merged"},
	{"tag", "tag a other"},
	{"ls", "ls many"},
	{"ls", "ls $REGISTRY/synced"},
	{"inspect", "inspect many"},
	{"inspect", "inspect $REGISTRY/synced:v1"},
	{"diff", "diff oci:many:v1 oci:many:v2"},
	{"diff", "diff a a"},
	{"verify", "verify many --for quay"},
	{"verify", "verify damaged"},
	{"inspect", "inspect builds/why/cache --steps"},
	{"inspect", "inspect builds/why/cache --provenance builds/why/provenance.json"},
	{"diff", "diff builds/why/cache builds/1-basic/cache --provenance builds/why/provenance.json"},
	{"prune", "prune builds/why/cache --leaves --dry-run --provenance builds/why/provenance.json"},
	{"explain", "explain builds/why/cache --provenance builds/why/provenance.json"},
	{"explain", "explain builds/why/cache --provenance builds/why/provenance.json --why"},
	{"explain-caches", "explain oci:many:v1 oci:many:v2"},
	{"pack", "pack many many.tar"},
	{"pack", "pack many zstd.tar --compression zstd --dry-run"},
	{"pack", "pack many volumes.tar --volume-size 64KiB --parity 1"},
	{"unpack", "unpack many.tar far --receipt receipt"},
	{"unpack", "unpack many.tar far --dry-run"},
	{"extract", "extract image extracted"},
	{"rm", "rm many --match v1 --dry-run"},
	{"prune", "prune merged --keep-records 30 --gc"},
	{"gc", "gc a --dry-run"},
	{"repair", "repair damaged"},
	{"repair", "repair a"},
	{"registries", "registries"},
	{"registries-one", "registries ecr"},
	{"version", "version"},
	{"version", "--version"},
	{"migrate-init", "migrate init many $REGISTRY/new"},
	{"migrate-check", "migrate check plan.yaml"},
	{"migrate-run", "migrate run plan.yaml --state state"},
	{"migrate-run-lines", "migrate run plan.yaml"},
	{"migrate-report", "migrate report state"},
}

// TestSchemasOfOutput holds what commands really write against the schemas in the repository: one object, or one in each line, whose lists are never null and
// whose times have no fractions.
func TestSchemasOfOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for to, from := range map[string]string{"a": "docker-list-gzip", "many": "multi-tag", "damaged": "dangling-index"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(filepath.Join(corpus, from))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "image"), os.DirFS(filepath.Join(corpus, "inline-image"))); err != nil {
		t.Fatal(err)
	}
	if err := explaintest.UnpackTo(t.Context(), dir, "builds/"); err != nil {
		t.Fatal(err)
	}
	server := registrytest.New(t, registrytest.Options{TakesLists: true})
	plan := "version: 1\nmigrations:\n  - source: oci:many\n    target: docker://" + server.Host + "/planned\n"
	if err := os.WriteFile(filepath.Join(dir, "plan.yaml"), []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, line := range schemaLines {
		name, args := line[0], strings.Fields(strings.ReplaceAll(line[1], "$REGISTRY", "docker://"+server.Host))
		seen[name] = true
		if strings.Contains(line[1], "$REGISTRY") || strings.Contains(line[1], "plan.yaml") {
			args = append(args, "--tls-verify=false")
		}
		stdout, stderr := runIn(t, dir, append(args, "--json")...)
		values := [][]byte{stdout}
		if strings.HasSuffix(name, "-lines") {
			values = bytes.SplitAfter(bytes.TrimSpace(stdout), []byte("\n"))
		}
		for _, raw := range values {
			var value any
			if err := json.Unmarshal(raw, &value); err != nil {
				t.Errorf("%s: %v: %s%s", line[1], err, raw, stderr)
				continue
			}
			if where := readSchema(t, name).check(value, ""); where != "" {
				t.Errorf("%s: %s", line[1], where)
			}
		}
	}
	for name := range results {
		if !seen[name] {
			t.Errorf("no output of %s was held against its schema", name)
		}
	}
}
