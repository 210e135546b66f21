package explain_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// TestForeignProvenance names the records of every cache by every build. What builds have in common may have a name, and then it is the
// one that the cache's own build gives it: another one never is.
func TestForeignProvenance(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(explaintest.Unpack(t, "builds/"), "builds")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	shared := 0
	for _, of := range entries {
		c := openCache(t, filepath.Join(dir, of.Name(), "cache"))
		own := namedBy(t, c, filepath.Join(dir, of.Name()))
		for _, other := range entries {
			by := namedBy(t, c, filepath.Join(dir, other.Name()))
			for i, r := range by.Records {
				if r.Kind == explain.KindForeign {
					continue
				}
				shared++
				if got, want := what(r), what(own.Records[i]); got != want {
					t.Errorf("%s by %s: [%d] is %s, and its own build says %s", of.Name(), other.Name(), i, got, want)
				}
				if len(by.Warnings) > 0 && r.Kind != explain.KindSource {
					t.Errorf("%s by %s: [%d] is %s, although %s", of.Name(), other.Name(), i, what(r), by.Warnings)
				}
			}
		}
	}
	if shared < 300 {
		t.Errorf("only %d records have names", shared)
	}
}

// what says what a record is: builds may call a stage, and what files come from, by other names.
func what(r explain.NamedRecord) string {
	names := strings.Join(r.Names, ", ")
	for _, of := range []string{" of ", " AS "} {
		names, _, _ = strings.Cut(names, of)
	}
	return string(r.Kind) + " " + names
}

func namedBy(t *testing.T, c opened, dir string) *explain.Named {
	t.Helper()
	var paths []string
	for _, name := range []string{"provenance.json", "provenance1.json", "history-predicate.json"} {
		paths = append(paths, filepath.Join(dir, name))
	}
	named, err := explain.NameInWords(t.Context(), c.Cache, buildsOf(t, paths...), false)
	if err != nil {
		t.Fatal(err)
	}
	return named
}

// TestNamesInOrder puts records in the order of the Dockerfile, what a step takes before it, and names nothing without a build.
func TestNamesInOrder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(explaintest.Unpack(t, "builds/why"), "builds", "why")
	c := openCache(t, filepath.Join(dir, "cache"))
	var got []string
	for _, r := range namedBy(t, c, dir).InOrder() {
		got = append(got, r.Where+" "+r.Names[0])
	}
	want := []string{
		"Dockerfile:1 FROM 127.0.0.1:5957/lab/moving:1 AS build", "Dockerfile:4 WORKDIR /src", "Dockerfile:5 /src of the context", "Dockerfile:5 COPY src/ ./",
		"Dockerfile:6 RUN cat a.txt b.txt > /built", "Dockerfile:7 RUN echo $FLAVOUR > /flavour", "Dockerfile:10 /assets/*.css of the context",
		"Dockerfile:10 COPY assets/*.css /css/", "Dockerfile:11 RUN cat /css/x.css > /css/all", "Dockerfile:14 /built of stage build",
		"Dockerfile:14 COPY --from=build /built /app", "Dockerfile:15 /css of stage assets", "Dockerfile:15 COPY --from=assets /css /css",
		"Dockerfile:16 /conf of the context", "Dockerfile:16 COPY --chown=1:1 conf /etc/conf", "Dockerfile:17 RUN cat /app /etc/conf/main > /final",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	bare, err := explain.NameInWords(t.Context(), c.Cache, []*provenance.Build{}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range bare.InOrder() {
		if r.Naming != nil {
			t.Errorf("[%d] is %v, and nobody knows of a build", r.Index, r.Names)
		}
	}
}
