//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestFixtures converts each fixture to another form and compression; which
// ones goes round. With E2E_FULL=1 it takes them all.
func TestFixtures(t *testing.T) {
	needOcicache(t)
	for n, f := range fixtures {
		if f.noCache {
			continue
		}
		for _, to := range f.targets(t, n) {
			t.Run(f.name()+"/"+to.String(), func(t *testing.T) {
				t.Parallel()
				f.convertAndImport(t, to)
			})
		}
	}
}

// TestFormsAndCompressions converts one cache, in which no layer is as any
// target wants them all, to every form and compression.
func TestFormsAndCompressions(t *testing.T) {
	needOcicache(t)
	if full() {
		t.Skip("with E2E_FULL=1 TestFixtures does it")
	}
	f := findFixture(t, "artifact-mixed-gzip-zstd")
	for _, to := range allTargets() {
		t.Run(to.String(), func(t *testing.T) {
			t.Parallel()
			f.convertAndImport(t, to)
		})
	}
}

// targets gives the nth target, or the next if the fixture is like that.
func (f *fixture) targets(t *testing.T, n int) []target {
	t.Helper()
	if full() {
		return allTargets()
	}
	c := mustReadCache(t, filepath.Join(testdata, "caches", f.cache), f.tagName())
	to := nthTarget(n)
	if c.check(to) == nil {
		to = nthTarget(n + 1)
	}
	return []target{to}
}

// convertAndImport requires that the converted cache gives what the untouched
// one gives.
func (f *fixture) convertAndImport(t *testing.T, to target) {
	t.Helper()
	src, dst := f.copy(t), filepath.Join(t.TempDir(), "converted")
	convert(t, src, f.tagName(), dst, to)
	f.requireConverted(t, src, dst, to)
}

// requireConverted requires that the fixture in src, converted in dst, is what
// was wanted, passes verify, and hits as the untouched one does. In place, src
// is another copy.
func (f *fixture) requireConverted(t *testing.T, src, dst string, to target) {
	t.Helper()
	converted := mustReadCache(t, dst, f.tagName())
	if err := converted.check(to); err != nil {
		t.Fatalf("converted to %s: %v", to, err)
	}
	ocicache(t, "verify", dst, "--deep")
	ocicache(t, "inspect", dst)

	untouched, reference := f.untouched(t), f.reference(t)
	got := f.importFrom(t, dst)
	requireSteps(t, got, untouched.Steps)
	want := expectImages(t, reference, mustReadCache(t, src, f.tagName()), converted)
	requireImages(t,
		withoutMissed(got.Images, untouched.Images, reference),
		withoutMissed(want, untouched.Images, reference))
}

// TestConvertInPlace converts every cache of a layout in the layout.
func TestConvertInPlace(t *testing.T) {
	needOcicache(t)
	to := target{dockerList, zstd}
	const layout = "multi-tag"
	dir := findFixture(t, layout).copy(t)
	convertInPlace(t, dir, to)
	for _, f := range fixtures {
		if f.cache == layout {
			f.requireConverted(t, f.copy(t), dir, to)
		}
	}
}

// TestRefused requires that what is no cache is refused, and that nothing is
// left behind that looks like one.
func TestRefused(t *testing.T) {
	needOcicache(t)
	for _, f := range fixtures {
		if !f.noCache {
			continue
		}
		t.Run(f.name(), func(t *testing.T) {
			t.Parallel()
			dst := filepath.Join(t.TempDir(), "converted")
			c := runOcicache(t, convertArgs(f.copy(t), f.tagName(), dst, target{ociIndex, zstd})...)
			if c.Status == 0 {
				t.Error("convert says that it is done")
			}
			if !strings.Contains(c.Stderr, "ocicache: error: ") {
				t.Errorf("convert does not say why:\n%s", c.Stderr)
			}
			if _, err := readCache(dst, f.tagName()); err == nil {
				t.Error("convert left a cache behind")
			}
		})
	}
}
