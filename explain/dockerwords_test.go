package explain_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// rewritten returns a build after some text of its provenance was replaced.
func rewritten(t *testing.T, path string, oldnew ...string) *provenance.Build {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(oldnew...).Replace(string(data))
	if text == string(data) && len(oldnew) > 0 {
		t.Fatalf("%s: nothing is replaced", path)
	}
	builds, err := provenance.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return builds[0]
}

// firstText returns what is said of the first step that misses.
func firstText(t *testing.T, report *explain.Report) string {
	t.Helper()
	for _, s := range report.Steps {
		if s.Cause != nil {
			return s.Cause.Text
		}
	}
	return ""
}

// TestWords says what is different in the words of a Dockerfile.
func TestWords(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	why := filepath.Join(dir, "builds/why/provenance.json")
	const image, pin = "127.0.0.1:5957/lab/moving:1", "486b38c8cb56dc87e8aee49cf6bf0b1053bba9fdb732edde2220b8bfb4d16d45"
	other := strings.Repeat("a", len(pin))
	for name, test := range map[string]struct {
		variant string // of the new build
		replace []string
		blind   bool // without the old build
		want    string
	}{
		"an argument":         {"05-build-arg", nil, false, "ARG FLAVOUR plain -> fancy"},
		"a variable":          {"04-env", nil, false, "ENV MODE fast -> slow"},
		"a mount":             {"38-run-mount", nil, false, "--mount is new: type=cache,target=/tmp/c"},
		"a host":              {"30-add-hosts", nil, false, "add-host is new: h:10.0.0.1"},
		"a platform":          {"13-platform", nil, false, "base image " + image + ": platform linux/amd64 -> linux/386"},
		"another digest":      {"00-same", []string{pin, other}, false, "base image " + image + ": digest 486b38c8cb56 -> aaaaaaaaaaaa"},
		"another tag":         {"00-same", []string{"moving:1@sha256:" + pin, "moving:2@sha256:" + other}, false, "base image " + image + "@486b38c8cb56 -> 127.0.0.1:5957/lab/moving:2@aaaaaaaaaaaa"},
		"a base that is new":  {"00-same", []string{pin, other}, true, "the cache is of no build with this base (" + image + "@aaaaaaaaaaaa)"},
		"the mode of a copy":  {"00-same", []string{`"mode":-1`, `"mode":493`}, false, "--chmod none -> 0755"},
		"the owner of a copy": {"00-same", []string{`"byId":1`, `"byId":2`}, false, "--chown 1:1 -> 2:2"},
		"an unpacked copy":    {"00-same", []string{`"mode":-1`, `"mode":-1,"attemptUnpackDockerCompatibility":true`}, false, "--unpack is new: true"},
		"a user's directory":  {"00-same", []string{`"mkdir":{`, `"mkdir":{"owner":{"user":{"User":{"byId":1}},"group":{"User":{"byId":3}}},`}, false, "USER is new: 1:3"},
		"a token":             {"05-build-arg", []string{"FLAVOUR=", "API_TOKEN="}, false, "ENV API_TOKEN is new: …; ARG FLAVOUR is gone: plain"},
		"a keyboard":          {"05-build-arg", []string{"FLAVOUR=", "KEYBOARD="}, false, "ARG FLAVOUR is gone: plain; ENV KEYBOARD is new: fancy"},
		"an author":           {"05-build-arg", []string{"FLAVOUR=", "AUTHOR_PATH="}, false, "ENV AUTHOR_PATH is new: fancy; ARG FLAVOUR is gone: plain"},
		"a date":              {"28-source-date-epoch", nil, false, "SOURCE_DATE_EPOCH none -> 2023-11-14T22:13:20Z"},
		"a shell":             {"32-shell", nil, false, "SHELL /bin/sh -c -> /bin/sh -ec"},
		"a longer shell":      {"32-shell", []string{`"-ec"`, `"-e","-c"`}, false, "SHELL /bin/sh -c -> /bin/sh -e -c"},
		"a command":           {"02-command", nil, false, "command cat a.txt b.txt > /built -> cat b.txt a.txt > /built"},
		"a secret": {"38-run-mount", []string{
			`"cacheOpt":{"ID":"//tmp/c"},`, `"secretOpt":{"ID":"tok","mode":256},`, `"mountType":3`, `"mountType":1`,
		}, false, "--mount is new: type=secret,target=/tmp/c,id=tok,mode=0400"},
	} {
		o := explain.ReportOptions{Why: true}
		o.Contexts = explain.Contexts{"context": filepath.Join(dir, "builds/why/context")}
		if !test.blind {
			o.Old = buildsOf(t, why)
		}
		b := rewritten(t, filepath.Join(dir, "why-variants", test.variant, "provenance.json"), test.replace...)
		report, err := explain.NewReport(t.Context(), cache.Cache, []*provenance.Build{b}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := firstText(t, report); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestSecretNames says which variables have values that are not shown.
func TestSecretNames(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/05")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	for _, name := range []string{
		"DBPASS", "SSHKEY", "GH_PAT", "NPM_CREDS", "PAT", "NPM_AUTH", "SIGNKEY_2", "dbPass2", "OAUTH", "MYSECRETS", "ApiToken", "CRED_FILE",
	} {
		o := explain.ReportOptions{Why: true}
		o.Contexts = explain.Contexts{"context": filepath.Join(dir, "builds/why/context")}
		o.Old = []*provenance.Build{rewritten(t, filepath.Join(dir, "builds/why/provenance.json"), "FLAVOUR=", name+"=")}
		b := rewritten(t, filepath.Join(dir, "why-variants/05-build-arg/provenance.json"), "FLAVOUR=", name+"=")
		report, err := explain.NewReport(t.Context(), cache.Cache, []*provenance.Build{b}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := firstText(t, report), "ENV "+name+" … -> …"; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestManyFiles says that of many changed files some are named in words, and all in the list.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/00")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	context := filepath.Join(dir, "builds/why/context")
	for i := range 3000 {
		if err := os.WriteFile(filepath.Join(context, "src", fmt.Sprintf("new%04d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := explain.ReportOptions{Why: true}
	o.Contexts = explain.Contexts{"context": context}
	o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
	report, err := explain.NewReport(t.Context(), cache.Cache, buildsOf(t, filepath.Join(dir, "why-variants/00-same/provenance.json")), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range report.Steps {
		if s.Where != "Dockerfile:5" {
			continue
		}
		if s.Cause == nil || len(s.Cause.Files) != 3000 || !strings.HasSuffix(s.Cause.Text, "src/new0009 is new, and 2990 more") {
			t.Errorf("%.200q", s.Cause.Text)
		}
	}
}
