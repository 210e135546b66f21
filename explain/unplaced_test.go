package explain_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// nextReport asks what the next build with the context of builds/why would hit, once change has changed it.
func nextReport(t *testing.T, contexts explain.Contexts, change func(context string) error) (*explain.Report, error) {
	t.Helper()
	dir := explaintest.Unpack(t, "builds/why")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	context := filepath.Join(dir, "builds/why/context")
	if err := change(context); err != nil {
		t.Fatal(err)
	}
	o := explain.ReportOptions{Why: true, Next: true}
	o.Contexts = explain.Contexts{"context": context}
	for name, below := range contexts {
		o.Contexts[name] = filepath.Join(context, below)
	}
	o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
	b := rewritten(t, filepath.Join(dir, "builds/why/provenance.json"))
	return explain.NewReport(t.Context(), cache.Cache, []*provenance.Build{b}, o)
}

// TestNextUnplaced decides on no files of the context where the Dockerfile is elsewhere (docker build -f deploy/Dockerfile): what is
// left out stands beside that.
func TestNextUnplaced(t *testing.T) {
	t.Parallel()
	const out = "*.tmp\nsrc/c.txt\n"
	for name, test := range map[string]struct {
		common, own, root string // .dockerignore, that of the Dockerfile, and another Dockerfile in the context
		contexts          explain.Contexts
		isUnplaced        bool
		want              string
	}{
		"unknown":         {"*.tmp\n", out, "", nil, true, ""},
		"mirrored":        {out, "*.tmp\n", "", nil, true, ""},
		"another at root": {"*.tmp\n", out, "FROM scratch\n", nil, true, ""},
		"told":            {"*.tmp\n", out, "", explain.Contexts{"dockerfile": "deploy"}, false, "src/c.txt is left out by Dockerfile.dockerignore"},
		"told, mirrored":  {out, "*.tmp\n", "", explain.Contexts{"dockerfile": "deploy"}, false, ""},
		"told, not there": {"*.tmp\n", out, "", explain.Contexts{"dockerfile": "src"}, true, ""},
	} {
		report, err := nextReport(t, test.contexts, func(context string) error {
			return errors.Join(
				os.Mkdir(filepath.Join(context, "deploy"), 0o755),
				os.Rename(filepath.Join(context, "Dockerfile"), filepath.Join(context, "deploy/Dockerfile")),
				os.WriteFile(filepath.Join(context, ".dockerignore"), []byte(test.common), 0o600),
				os.WriteFile(filepath.Join(context, "deploy/Dockerfile.dockerignore"), []byte(test.own), 0o600),
				func() error {
					if test.root == "" {
						return nil
					}
					return os.WriteFile(filepath.Join(context, "Dockerfile"), []byte(test.root), 0o600)
				}(),
			)
		})
		if err != nil {
			t.Fatal(err)
		}
		isNoted := slices.ContainsFunc(report.Notes, func(note string) bool {
			return strings.Contains(note, "Dockerfile of the build is not in") && strings.Contains(note, "--context dockerfile=DIR")
		})
		if got := firstText(t, report); got != test.want || isNoted != test.isUnplaced {
			t.Errorf("%s: %q %q, want %q", name, got, report.Notes, test.want)
		}
		for _, s := range report.Steps {
			if strings.HasPrefix(s.Text, "COPY src/") && (s.Verdict == explain.Maybe) != test.isUnplaced {
				t.Errorf("%s: %s: %s", name, s.Text, s.Verdict)
			}
		}
	}
}

// TestNextIgnoreFile reads .dockerignore as BuildKit does: nothing that is no file, nothing outside, and no build with what is no pattern.
func TestNextIgnoreFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		put        func(at string) error
		want, fail string
	}{
		"FIFO": {func(at string) error { return syscall.Mkfifo(at, 0o600) }, "", ""},
		"link out": {func(at string) error {
			return errors.Join(os.WriteFile(filepath.Join(filepath.Dir(at), "../ignore"), []byte("src/c.txt\n"), 0o600), os.Symlink("../ignore", at))
		}, "", ""},
		"link in": {func(at string) error {
			return errors.Join(os.WriteFile(filepath.Join(filepath.Dir(at), "ignore"), []byte("src/c.txt\n"), 0o600), os.Symlink("/ignore", at))
		}, "src/c.txt is left out by .dockerignore", ""},
		"no pattern": {func(at string) error { return os.WriteFile(at, []byte("*.tmp\n[\n"), 0o600) }, "", ".dockerignore: line 2 is no pattern"},
	} {
		report, err := nextReport(t, nil, func(context string) error {
			at := filepath.Join(context, ".dockerignore")
			return errors.Join(os.Remove(at), test.put(at))
		})
		switch {
		case test.fail != "" && (err == nil || !strings.Contains(err.Error(), test.fail)), test.fail == "" && err != nil:
			t.Errorf("%s: %v, want %q", name, err, test.fail)
		case err == nil && firstText(t, report) != test.want:
			t.Errorf("%s: %q, want %q", name, firstText(t, report), test.want)
		}
	}
}

// TestNextLinksOut does not say of what lies behind a link that leads out of the context that it is left out.
func TestNextLinksOut(t *testing.T) {
	t.Parallel()
	move := func(name string) func(context string) error {
		return func(context string) error {
			from, to := filepath.Join(context, name), filepath.Join(context, "../out")
			return errors.Join(os.Rename(from, to), os.Symlink(to, from))
		}
	}
	report, err := nextReport(t, nil, move("src"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(report.Warnings, func(text string) bool {
		return strings.HasPrefix(text, "/src is behind a symbolic link that leads to nothing in the context ")
	}) {
		t.Errorf("%q", report.Warnings)
	}
	if report, err = nextReport(t, nil, move("src/sub")); err != nil {
		t.Fatal(err)
	}
	if got, want := firstText(t, report), "src/sub changed (type), src/sub/d.txt is gone"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
