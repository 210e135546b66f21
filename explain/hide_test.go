package explain_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
)

// TestRedact says that no path, file or option of a build is in a report that hides values.
func TestRedact(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/", "why-variants/")
	nowhere := t.TempDir()
	secret := regexp.MustCompile(os.TempDir() + `|10\.0\.0\.1|lab/|a\.txt|/src|/conf|built|/tmp/c|tmp/c|x\.css|flavour|/css|EOF|1:1`)
	seen := map[bool]bool{}
	noted := t.TempDir()
	if err := os.WriteFile(filepath.Join(noted, "Dockerfile"), []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"02-command", "04-env", "07-file-content", "13-platform", "22-other-stage-file", "30-add-hosts", "33-user", "38-run-mount", "nowhere"} {
		cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
		variant, context := name, ""
		if name == "nowhere" { // in which nothing is that is copied
			variant, context = "00-same", nowhere
		} else {
			context = contextOf(t, dir, name)
		}
		b := buildsOf(t, filepath.Join(dir, "why-variants", variant, "provenance.json"))
		for _, redact := range []bool{false, true} {
			o := explain.ReportOptions{Why: true, Redact: redact}
			o.Old = buildsOf(t, filepath.Join(dir, "builds/why/provenance.json"))
			o.Contexts = explain.Contexts{"context": context, "dockerfile": noted}
			o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
			report, err := explain.NewReport(t.Context(), cache.Cache, b, o)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(report)
			if err != nil {
				t.Fatal(err)
			}
			found := secret.FindString(string(text))
			seen[redact] = seen[redact] || found != ""
			if redact && found != "" {
				t.Errorf("%s: %q is in %s", name, found, text)
			}
		}
	}
	if !seen[false] {
		t.Error("without hiding, there is nothing to hide")
	}
}

// TestAddresses says that users, passwords and queries of addresses are in no title.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for identifier, want := range map[string]string{
		"https://example.com/a.tar":                      "https://example.com/a.tar",
		"https://me:secret@example.com/a.tar?sig=b#c":    "https://…@example.com/a.tar?…#c",
		"https://token@example.com/a@b?x":                "https://…@example.com/a@b?…",
		"git://me:se@cret@example.com/r.git#main:sub":    "git://…@example.com/r.git#main:sub",
		"docker-image://base@sha256:00":                  "docker-image://base@sha256:00",
		"local://context":                                "local://context",
		"https://u:p;w@h/x":                              "https://…@h/x",
		"https://u:p(w)@h/x|sh":                          "https://…@h/x|sh",
		"https://u:p'w\"@h/x":                            "https://…@h/x",
		"https://u:p/w@h/x":                              "https://…@h/x",
		"https://u:p#w?v@h/x?s":                          "https://…@h/x?…",
		"https://h:8080/x@y":                             "https://h:8080/x@y",
		"\"https://h/x?sig=a;b\"":                        "\"https://h/x?…\"",
		"\"https://h/x?a=q'r\"":                          "\"https://h/x?…\"",
		"'https://h/x?a=(q)|r<s>`t`&u;v'; true":          "'https://h/x?…'; true",
		"$(curl https://h/x?a=b)":                        "$(curl https://h/x?…)",
		"https://a,https://u:p@h?q,https://v:w@i":        "https://a,https://…@h?…",
		"local://a,https://u:p@h":                        "local://a,https://…@h",
		"GIT_https://u:p@h":                              "GIT_https://…@h",
		"curl 'http://a:b@h/x?y=z' ; wget HTTP://c@h?q;": "curl 'http://…@h/x?…' ; wget HTTP://…@h?…;",
	} {
		b := &provenance.Build{Steps: []provenance.Step{{Op: &llb.Op{Source: &llb.SourceOp{Identifier: identifier}}}}}
		if got := explain.Title(b, 0); got != want {
			t.Errorf("%s is %s, want %s", identifier, got, want)
		}
	}
}

// TestManyAddresses says that very many addresses without blanks are hidden in time: that of go test.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	const times = 100000
	b := &provenance.Build{Steps: []provenance.Step{{Name: strings.Repeat("a://b:c@d,", times), Op: &llb.Op{}}}}
	if got, want := explain.Title(b, 0), strings.Repeat("a://…@d,", times); got != want {
		t.Errorf("%.100q, want %.100q", got, want)
	}
}

// TestAddressesOfCauses says the same of what is different.
func TestAddressesOfCauses(t *testing.T) {
	t.Parallel()
	b, cache := chainOf(t, 1, func(int) string { return "true" })
	old, _ := chainOf(t, 1, func(int) string { return "true" })
	attrs := map[string]string{"http.checksum": digest.FromString("a").String()}
	for _, test := range []struct{ old, now, want string }{
		{"https://me:sesame@example.com/a?sig=1", "https://me:sesame@example.com/b?sig=2", "source https://…@example.com/a?… -> https://…@example.com/b?…"},
		{
			"https://me:sesame@example.com/a", "https://me:sesame2@example.com/a",
			"source https://…@example.com/a -> https://…@example.com/a (with another user, password or query)",
		},
		{"", "https://me:sesame@example.com/b?sig=2", "the cache is of no build with this source (https://…@example.com/b?…)"},
	} {
		b.Steps[0].Op = &llb.Op{Source: &llb.SourceOp{Identifier: test.now, Attrs: attrs}}
		old.Steps[0].Op = &llb.Op{Source: &llb.SourceOp{Identifier: test.old, Attrs: attrs}}
		o := explain.ReportOptions{Why: true}
		if test.old != "" {
			o.Old = []*provenance.Build{old}
		}
		report, err := explain.NewReport(t.Context(), cache, []*provenance.Build{b}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := report.Steps[0].Cause; got == nil || got.Text != test.want {
			t.Errorf("%s: %+v, want %s", test.now, got, test.want)
		}
	}
}
