package migrate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/migrate"
)

const whole = `
version: 1
registries:
  old.example.com: {rate: 20, transfers: 8}
  127.0.0.1:5000: {tls_verify: false, authfile: auth.json, cert_dir: certs}
defaults: {to: auto, compression: zstd, level: 3, force: true, for: harbor}
migrations:
  - source: docker://old.example.com/team/app-cache
    target: docker://new.example.com/caches/team/app
    tags: {allow: ["main", "release-.*", 1.0], deny: "release-0.*", min: 2}
  - source: [docker://old.example.com/a/b, docker://old.example.com/c]
    target: docker://127.0.0.1:5000/{repository}:old-{tag}
    to: keep
    compression: gzip
`

// TestParsePlan reads all that a plan can say.
func TestParsePlan(t *testing.T) {
	t.Parallel()
	plan, err := migrate.ParsePlan("plan.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, m := range plan.Migrations {
		lines = append(lines, fmt.Sprintf("%s %s %s %v %v %d", m.Source, m.Target, m.Change, m.Tags.Allow, m.Tags.Deny, m.Tags.Min))
	}
	want := []string{
		"docker://old.example.com/team/app-cache docker://new.example.com/caches/team/app auto zstd level 3 forced for harbor [main release-.* 1.0] [release-0.*] 2",
		"docker://old.example.com/a/b docker://127.0.0.1:5000/{repository}:old-{tag} gzip for harbor [] [] 1",
		"docker://old.example.com/c docker://127.0.0.1:5000/{repository}:old-{tag} gzip for harbor [] [] 1",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	no := false
	registries := map[string]migrate.Registry{
		"old.example.com": {Rate: 20, Transfers: 8},
		"127.0.0.1:5000":  {TLSVerify: &no, AuthFile: "auth.json", CertDir: "certs"},
	}
	if !reflect.DeepEqual(plan.Registries, registries) {
		t.Errorf("got %+v", plan.Registries)
	}
	if want := []string{"127.0.0.1:5000", "new.example.com", "old.example.com"}; !slices.Equal(plan.Hosts(), want) {
		t.Errorf("hosts %v, want %v", plan.Hosts(), want)
	}
	for tag, want := range map[string]string{
		"main": "", "release-1": "", "release-0.3": "deny", "mainx": "allow", "xmain": "allow", "1.0": "", "1x0": "", "1.00": "allow",
	} {
		if _, filter := plan.Migrations[0].Tags.Chooses(tag); filter != want {
			t.Errorf("tag %s is left out by %q, want %q", tag, filter, want)
		}
	}
}

// TestPlanPrune says that a migration has the rules of the defaults, all of its own, or none.
func TestPlanPrune(t *testing.T) {
	t.Parallel()
	plan, err := migrate.ParsePlan("p", []byte("version: 1\ndefaults: {prune: {older_than: 2026-01-31, keep_bytes: 5GB}}\nmigrations:\n- {source: a, target: d}\n"+
		"- {source: b, target: d, compression: zstd, prune: {leaves: true, keep_records: 7, keep_bytes: 1000, fit: true}}\n- {source: c, target: d, prune: keep}"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"older-than 2026-01-31 keep-bytes 5GB", "zstd leaves keep-records 7 keep-bytes 1000 fit", ""} {
		if got := plan.Migrations[i].Change.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestChoosesWhole says that expressions mean whole tags, whatever is in them.
func TestChoosesWhole(t *testing.T) {
	t.Parallel()
	plan, err := migrate.ParsePlan("p", []byte(`{version: 1, migrations: [{source: a, target: b, tags: {allow: ["x|xy", "a|b", '\Qq.']}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[string]bool{"x": true, "xy": true, "a": true, "b": true, "ab": false, "xyz": false, "q.": true, "qq": false, "": false} {
		if got, _ := plan.Migrations[0].Tags.Chooses(tag); got != want {
			t.Errorf("tag %q: got %t", tag, got)
		}
	}
}

// TestPlanProblems names what is wrong, and where.
func TestPlanProblems(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, plan string
		want       []string
	}{
		{"nothing", "", []string{"it is empty"}},
		{"no YAML", "version: 1\n  x: [", []string{"line 2, column 1: this is no YAML"}},
		{"a list", "- a", []string{"line 1, column 1: the plan is a list; want keys and values"}},
		{"no version", "migrations: []", []string{"line 1, column 1: the plan has no version"}},
		{"another version", "version: 2", []string{`line 1, column 10: version is "2"; this program knows version 1`}},
		{
			"unknown keys, all at once", "version: 1\nregistry: {}\ndefaults: {too: auto}\nregistries:\n  a.example: {rat: 1}\nmigrations:\n  - source: a\n    target: b\n    tag: c\n    tags: {only: x}",
			[]string{
				`line 2, column 1: unknown key "registry" in the plan; there are defaults, migrations, registries, version`,
				`line 3, column 12: unknown key "too" in defaults`, `line 5, column 15: unknown key "rat" in a registry`,
				`line 9, column 5: unknown key "tag" in a migration`, `line 10, column 12: unknown key "only" in tags; there are allow, deny, min`,
			},
		},
		{"twice", "version: 1\nversion: 1", []string{`line 2, column 1: the key "version" is there twice`}},
		{"no host", "version: 1\nregistries: {team: {}}", []string{`line 2, column 14: "team" is no host`}},
		{
			"numbers", "version: 1\nregistries:\n  a.example: {rate: 0, transfers: 0}\n  b.example: {rate: fast, transfers: -1, tls_verify: 0}",
			[]string{`line 3, column 21: rate is "0"`, `line 3, column 35: transfers is 0`, `rate is "fast"`, `transfers is "-1"`, `tls_verify is "0"; want true or false`},
		},
		{
			"changes", "version: 1\ndefaults: {to: tar, compression: lzma, level: high, for: nobody}",
			[]string{"to: ", "compression: ", `level is "high"`, `for: no rules are known for a registry "nobody"`},
		},
		{"a level of another", "version: 1\nmigrations: [{source: a, target: b, compression: gzip, level: 20}]", []string{"gzip has the levels 1 to 9, not 20"}},
		{"a level of nothing", "version: 1\nmigrations: [{source: a, target: b, level: 2}]", []string{"needs a compression"}},
		{"auto without rules", "version: 1\nmigrations: [{source: a, target: b, to: auto}]", []string{`line 2, column 37: to: auto is the form that a registry takes best, and b is none; write "to: keep", a form, or "for:"`}},
		{
			"auto by default", "version: 1\ndefaults: {to: auto}\nmigrations: [{source: a, target: 'oci:b'}]",
			[]string{`line 3, column 23: to: auto in the defaults is the form that a registry takes best, and oci:b is none; for this migration write "to: keep"`},
		},
		{
			"words that are nearly right",
			"version: 1\nregistries: {a.example: {transfer: 3}}\nsource: a\ndefaults: {to: artefact, compression: gzp}\nmigration: []",
			[]string{"did you mean transfers?", `unknown key "source" in the plan; there are`, "did you mean artifact?", "did you mean gzip?", "did you mean migrations?"},
		},
		{"nothing from nowhere", "version: 1\nmigrations: [{}]", []string{"a migration has no source", "a migration has no target"}},
		{"no source", "version: 1\nmigrations: [{source: [], target: b}, {source: , target: b}]", []string{"source is an empty list", "source is nothing"}},
		{"references", "version: 1\nmigrations: [{source: 'https://a.example/x', target: b}, {source: a, target: 'oci-archive:f'}, {source: '-', target: b}, {source: a, target: 'docker://a.example/b@sha256:" + strings.Repeat("0", 64) + "'}]", []string{"source: ", "target: ", "source: ", "target: "}},
		{"no repository", "version: 1\nmigrations: [{source: 'docker://a.example/Team', target: b}]", []string{"repository name must be lowercase"}},
		{"one place", "version: 1\nmigrations: [{source: a, target: a}]", []string{"the same place"}},
		{"words", "version: 1\nmigrations: [{source: a, target: 'b/{repo}'}]", []string{"{repo} stands for nothing; there are {repository} and {tag}"}},
		{
			"prune", "version: 1\ndefaults: {prune: {}}\nmigrations:\n- {source: a, target: b, prune: {older_than: 3y, keep_bytes: 0, keep_records: 0, keep: 1, fit: 2}}\n- {source: a, target: c, prune: small}",
			[]string{
				"line 2, column 19: prune has no rules", `line 4, column 46: older_than: invalid age "3y"`, `line 4, column 62: keep_bytes: "0": want a size above 0`, "keep_records is 0",
				`unknown key "keep" in prune; there are fit, keep_bytes, keep_records, leaves, older_than`, `fit is "2"`, `line 5, column 33: prune is "small"`,
			},
		},
		{
			"prune the source", "version: 1\ndefaults: {to: artifact, prune: {fit: true}}\nmigrations:\n" +
				"- {source: 'docker://a.example/x', target: 'docker://a.example/x'}\n- {source: 'docker://a.example/x', target: 'docker://a.example/x:{tag}'}\n" +
				"- {source: 'docker://a.example/x', target: 'docker://a.example/x:v1'}\n- {source: 'docker://a.example/x:v1', target: 'docker://a.example/x:v1'}\n" +
				"- {source: 'docker://a.example/x:v1', target: 'docker://a.example/x:v2'}\n- {source: 'docker://a.example/x', target: 'docker://a.example/x:small-{tag}'}\n" +
				"- {source: 'docker://a.example/x', target: 'docker://a.example/y'}\n- {source: 'docker://a.example/x', target: 'docker://a.example/x', prune: keep}",
			[]string{"line 4, column 12: prune: source and target are the same", "line 5, ", "line 6, ", "line 7, "},
		},
		{"no expression", "version: 1\nmigrations: [{source: a, target: b, tags: {allow: ['a)(b']}}]", []string{`line 2, column 52: "a)(b" is no regular expression`}},
		{"tags of one", "version: 1\nmigrations: [{source: 'oci:a:main', target: b, tags: {allow: main}}]", []string{"names one cache already"}},
		{"together", "version: 1\nmigrations: [{source: [a, x], target: b}]", []string{"a and x both go to b"}},
		{"a merge", "version: 1\nmigrations: [{<<: {source: a}, target: b}]", []string{"no source", `unknown key "<<"`}},
		{"a loop", "version: 1\nmigrations: &a [*a]", []string{"a migration is a list"}},
		{"pairs", "a b\nc\n# d\na b c\n", []string{"line 2, column 1: it has 1 words; want SOURCE TARGET", "line 4, column 1: it has 3 words"}},
		{"documents", "version: 1\n---\nversion: 1\nx: y", []string{"line 2, column 1: another document begins here; a plan is one"}},
		{"half a document", "version: 1\n---\n[", []string{"this is no YAML"}},
		{"a directive", "%YAML 1.9\n---\nmigrations: x", []string{"this is no YAML: found incompatible YAML document"}},
		{"pairs of nothing", "a https://b.example/x", []string{"line 1, column 1: target: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := migrate.ParsePlan("p", []byte(test.plan))
			var problems *migrate.PlanError
			if !errors.As(err, &problems) {
				t.Fatalf("got %v", err)
			}
			if len(problems.Problems) != len(test.want) {
				t.Fatalf("got %v, want %d problems", err, len(test.want))
			}
			for i, want := range test.want {
				if got := problems.Problems[i].String(); !strings.Contains(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

// TestPlanBomb says that what few aliases make many of is not read for ever, nor all that is wrong with it named.
func TestPlanBomb(t *testing.T) {
	t.Parallel()
	many := quicktest.Rounds(10_000, 100_000) // times a thousand values, where 200000 may be
	for name, bomb := range map[string]string{
		"migrations": "version: 1\nmigrations:\n- &m {source: [" + strings.Repeat("docker://a/b,", 1000) + "docker://a/b], target: 'docker://c/{tag}'}\n" + strings.Repeat("- *m\n", many),
		"tags":       "version: 1\nmigrations:\n- &m {source: docker://a/b, target: docker://c/d, tags: {allow: [" + strings.Repeat("a,", 1000) + "a]}}\n" + strings.Repeat("- *m\n", many),
		"problems":   "version: 1\nmigrations:\n" + strings.Repeat("- a\n", many),
	} {
		_, err := migrate.ParsePlan("p", []byte(bomb))
		var problems *migrate.PlanError
		if !errors.As(err, &problems) || len(problems.Problems) > 100 {
			t.Errorf("%s: got %d bytes of an error", name, len(fmt.Sprint(err)))
			continue
		}
		if refused := strings.Contains(err.Error(), "more than 200000 values"); refused == (name == "problems") {
			t.Errorf("%s: got %.200v", name, err)
		}
	}
}

// TestPairs makes a plan of lines, and of lines beside a plan.
func TestPairs(t *testing.T) {
	t.Parallel()
	plan, err := migrate.ParsePlan("p", []byte("# comment\n\noci:a oci:b\tc # d\n"))
	if err == nil {
		t.Fatalf("three words made %+v", plan)
	}
	if plan, err = migrate.ParsePlan("p", []byte("# comment\n\noci:a oci:b # d\nx#y z\n")); err != nil {
		t.Fatal(err)
	}
	if len(plan.Migrations) != 2 || plan.Migrations[1].Source != "x#y" || plan.Migrations[0].Tags.Min != 1 {
		t.Errorf("got %+v", plan.Migrations)
	}
	if plan, err = migrate.ParsePlan("p", []byte("version: 1\ndefaults: {to: artifact}")); err != nil {
		t.Fatal(err)
	}
	if err := plan.AddPairs("pairs", []byte("a b\n")); err != nil || plan.Migrations[0].To != "artifact" {
		t.Errorf("got %+v, %v", plan.Migrations, err)
	}
	for _, with := range []string{"\uFEFFa b\n", "\uFEFFversion: 1\nmigrations: [{source: a, target: b}]", "%YAML 1.2\n---\nversion: 1\nmigrations: [{source: a, target: b}]"} {
		if plan, err := migrate.ParsePlan("p", []byte(with)); err != nil || len(plan.Migrations) != 1 || plan.Migrations[0].Source != "a" {
			t.Errorf("%q: got %+v, %v", with, plan, err)
		}
	}
	if err := plan.AddPairs("pairs", []byte("\uFEFFc d\n")); err != nil || plan.Migrations[1].Source != "c" {
		t.Errorf("got %+v, %v", plan.Migrations, err)
	}
}

// TestNothingToDo says that a plan without a migration is a mistake, and lines that are none are, too.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	plan, err := migrate.ParsePlan("p", []byte("version: 1\nmigrations: []"))
	if err != nil {
		t.Fatal(err)
	}
	var problems *migrate.PlanError
	if err := plan.Check("p"); !errors.As(err, &problems) {
		t.Errorf("no migrations: %v", err)
	}
	if err := plan.AddPairs("pairs", []byte("# nothing\n")); !errors.As(err, &problems) || problems.Name != "pairs" {
		t.Errorf("no lines: %v", err)
	}
	if err := plan.AddPairs("pairs", []byte("a b")); err != nil {
		t.Error(err)
	}
	if err := plan.Check("p"); err != nil {
		t.Error(err)
	}
}

// TestUnusedRegistry warns of what is said of a registry that nothing goes to: it was probably meant for another one.
func TestUnusedRegistry(t *testing.T) {
	t.Parallel()
	plan, err := migrate.ParsePlan("p", []byte("version: 1\nregistries:\n  a.example: {rate: 1}\n  b.example:5000: {rate: 1}\n"+
		"migrations: [{source: a, target: 'docker://b.example/c'}]"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`line 3, column 3: no migration names the registry "a.example", as HOST or HOST:PORT`,
		`line 4, column 3: no migration names the registry "b.example:5000", as HOST or HOST:PORT`,
	}
	if got := fmt.Sprint(plan.Warnings()); got != fmt.Sprint(want) {
		t.Errorf("got %v", got)
	}
	if err := plan.AddPairs("pairs", []byte("docker://a.example/x docker://b.example:5000/y")); err != nil || len(plan.Warnings()) > 0 {
		t.Errorf("got %v, %v", plan.Warnings(), err)
	}
}

// words returns names as text.
func words[T ~string](names []T) []string {
	var all []string
	for _, name := range names {
		all = append(all, string(name))
	}
	return all
}

// TestSchema says that the schema has the keys that plans have, and their words.
func TestSchema(t *testing.T) {
	t.Parallel()
	type object struct {
		Properties           map[string]*object `json:"properties"`
		Enum                 []string           `json:"enum"`
		AdditionalProperties json.RawMessage    `json:"additionalProperties"`
		Items                *object            `json:"items"`
		OneOf                []*object          `json:"oneOf"`
		Defs                 map[string]*object `json:"$defs"`
	}
	var schema object
	if err := json.Unmarshal(migrate.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	var registry object
	if err := json.Unmarshal(schema.Properties["registries"].AdditionalProperties, &registry); err != nil {
		t.Fatal(err)
	}
	change := schema.Defs["change"].Properties
	if got, want := change["compression"].Enum, append([]string{"keep"}, words(buildcache.Compressions())...); !slices.Equal(got, want) {
		t.Errorf("the schema has the compressions %v, not %v", got, want)
	}
	if got, want := change["to"].Enum, append([]string{"auto", "keep"}, words(buildcache.Forms())...); !slices.Equal(got, want) {
		t.Errorf("the schema has the forms %v, not %v", got, want)
	}
	migration := schema.Properties["migrations"].Items.Properties
	for name, part := range map[string]struct {
		keys map[string]*object
		of   any
	}{
		"plan": {schema.Properties, migrate.Plan{}}, "registry": {registry.Properties, migrate.Registry{}},
		"change": {change, migrate.Change{}}, "migration": {migration, migrate.Migration{}},
		"tags": {migration["tags"].Properties, migrate.Tags{}}, "prune": {change["prune"].OneOf[1].Properties, convert.Limits{}},
	} {
		var fields []string
		for field := range fieldsOf(reflect.TypeOf(part.of)) {
			fields = append(fields, field)
		}
		slices.Sort(fields)
		if keys := slices.Sorted(maps.Keys(part.keys)); !slices.Equal(keys, fields) {
			t.Errorf("%s: the schema has %v, the struct %v", name, keys, fields)
		}
		// And the reader knows each of them.
		_, err := migrate.ParsePlan("p", []byte(map[string]string{
			"plan": "zzz: 1", "registry": "registries: {a.example: {zzz: 1}}", "change": "defaults: {zzz: 1}",
			"migration": "migrations: [{zzz: 1}]", "tags": "migrations: [{tags: {zzz: 1}}]", "prune": "defaults: {prune: {zzz: 1}}",
		}[name]))
		for _, field := range fields {
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s: the reader does not know %q: %v", name, field, err)
			}
		}
	}
}

// fieldsOf returns the JSON names of a struct's own fields.
func fieldsOf(of reflect.Type) map[string]bool {
	names := map[string]bool{}
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.IsExported() && !field.Anonymous && name != "-" {
			names[name] = true
		}
	}
	return names
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("a b\nc d # e\n"))
	f.Add([]byte("version: 1\nmigrations: &a [*a, {source: &s a, target: *s}]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		plan, err := migrate.ParsePlan("p", raw)
		var problems *migrate.PlanError
		switch {
		case err != nil && (!errors.As(err, &problems) || len(problems.Problems) == 0):
			t.Fatalf("got %v", err)
		case err == nil:
			plan.Hosts()
			for _, m := range plan.Migrations {
				m.Tags.Chooses("main")
			}
		}
	})
}
