package migrate

import (
	"errors"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/layout"
)

// TestRepositoryOf says what {repository} stands for.
func TestRepositoryOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ source, target, want string }{
		{"docker://old.example.com/team/app:main", "docker://n.example/{repository}", "team/app"},
		{"docker://old.example.com/team/app", "oci:far/{repository}", "team/app"},
		{".buildcache", "docker://n.example/{repository}", "buildcache"},
		{"app-v1.2", "docker://n.example/{repository}", "app-v1.2"},
		{"a/b/App.Cache/", "docker://n.example/{repository}", "app.cache"},
		{"a/b/App.Cache", "oci:far/{repository}", "App.Cache"},
		{"oci-archive:a/App-1.2.tar:x", "oci:far/{repository}", "App-1.2"},
		{"app.TAR", "docker://n.example/{repository}", "app"},
		{".tar", "docker://n.example/{repository}", "tar"},
		{".", "docker://n.example/{repository}", "migrate"}, // the working directory
		{"...", "docker://n.example/{repository}", ""},
		{"/", "docker://n.example/{repository}", ""},
	} {
		source, err := layout.ParseReference(test.source)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Migration{Source: test.source, Target: test.target}).repositoryOf(source); got != test.want {
			t.Errorf("%s to %s: %q, want %q", test.source, test.target, got, test.want)
		}
	}
}

// TestDraft says that every draft is a plan, whatever sources are called.
func TestDraft(t *testing.T) {
	t.Parallel()
	no := false
	insecure := Options{}
	insecure.Registry.TLSVerify = &no
	for _, to := range []string{"docker://n.example", "docker://n.example/team", "docker://n.example/{repository}", "oci:far", "far/{repository}"} {
		for _, sources := range [][]string{
			{"a"},
			{"a/cache", "b/cache"},
			{"oci:x:main", "oci:x:dev", "oci:y/x:main"},
			{"My Cache", "my-cache", "a-_-b"},
			{"/", "...", ".x"},
			{"docker://a.example/team/app", "docker://b.example/team/app", "app"},
			{"a/cache", "cache", "cache-2"},
		} {
			var found []*Found
			for _, source := range sources {
				found = append(found, &Found{Source: source, Caches: 1})
			}
			draft := Draft(found, to, insecure, func(*Found) string { return "" })
			plan, err := ParsePlan("p", []byte(draft))
			if err == nil {
				err = plan.Check("p")
			}
			if err != nil {
				t.Errorf("%v to %s: %v\n%s", sources, to, err, draft)
				continue
			}
			places := map[string]bool{}
			for _, m := range plan.Migrations {
				places[m.place()] = true
			}
			from := map[layout.Reference]bool{}
			for _, m := range plan.Migrations {
				from[m.from()] = true
			}
			if len(places) != len(from) {
				t.Errorf("%v to %s: %v", sources, to, places)
			}
			for _, host := range plan.Hosts() {
				if verify := plan.Registries[host].TLSVerify; verify == nil || *verify {
					t.Errorf("%v to %s: the draft does not say how %s is to be trusted:\n%s", sources, to, host, draft)
				}
			}
		}
	}
	if draft := Draft([]*Found{{Source: "a"}}, "docker://n.example/x", Options{}, func(*Found) string { return "" }); strings.Contains(draft, "false") {
		t.Errorf("the draft trusts anybody:\n%s", draft)
	}
}

// TestCollisions finds what would replace one another, or be mixed, in all migrations of a plan.
func TestCollisions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ plan, want string }{
		{"a/cache oci:far/{repository}\nb/cache oci:far/{repository}", "a/cache (line 1) have one name, and would both go to oci:far/cache"},
		{"oci:a/cache:x oci:far/{repository}\noci:b/cache:y oci:far/{repository}", "have one name"},
		{"a/cache oci:far/{repository}\na/cache oci:far/{repository}", "a/cache goes to oci:far/cache twice (line 1)"},
		{"oci:a:x oci:far\noci:b:x oci:far", "would replace each other"},
		{"a oci:far:x\nb oci:far:x", "would replace each other"},
		{"oci:a:x oci:far\noci:b:y oci:far", ""},
		{"oci:a:x oci:far\noci:a:y oci:far", ""},
		{"docker://a.example/x:1 oci:far/{repository}\ndocker://a.example/x:2 oci:far/{repository}", ""},
		{"version: 1\nmigrations:\n- {source: ['oci:a:v1', 'oci:a:v2'], target: 'oci:far/{repository}'}", ""},
		{"version: 1\nmigrations:\n- {source: ['oci:x/a:v1', 'oci:a:v2'], target: 'oci:far/{repository}'}", "both go to oci:far/a"},
		{"a oci:far:a-{tag}\nb oci:far:b-{tag}", ""},
		{"a oci:far\nb oci:far", ""}, // their tags may differ
		{"version: 1\nmigrations:\n- {source: a, target: 'oci:b', tags: {allow: main}}\n- {source: a, target: 'oci:b', tags: {deny: main}, compression: zstd}", ""},
		{"version: 1\nmigrations:\n- {source: a, target: 'oci:b'}\n- {source: a, target: 'oci:b', compression: zstd}", "line 4, column 1: a goes to oci:b twice (line 3)"},
		{"version: 1\nmigrations:\n- {source: ['oci:a:v1', 'oci:a:v2'], target: 'oci:b'}", ""},
		{"version: 1\nmigrations:\n- {source: ['oci:a:v1', 'oci:c:v1'], target: 'oci:b'}", "would replace each other"},
		{"... oci:far/{repository}", "... has no name that {repository} could stand for"},
	} {
		plan, err := ParsePlan("p", []byte(test.plan))
		if err == nil {
			err = plan.Check("p")
		}
		var problems *PlanError
		switch {
		case test.want == "" && err != nil, test.want != "" && !errors.As(err, &problems):
			t.Errorf("%s:\ngot %v, want %q", test.plan, err, test.want)
		case test.want != "" && !strings.Contains(err.Error(), test.want):
			t.Errorf("%s:\ngot %v, want %q", test.plan, err, test.want)
		}
	}
	plan, err := ParsePlan("p", []byte("version: 1\nmigrations: [{source: a, target: 'oci:b'}]"))
	if err == nil {
		err = plan.AddPairs("lines", []byte("a oci:b"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Check("p"); err == nil || !strings.Contains(err.Error(), "plan p: lines, line 1: a goes to oci:b twice (line 2)") {
		t.Errorf("got %v", err)
	}
}
