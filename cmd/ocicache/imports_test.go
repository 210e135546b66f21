package main

import (
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ocicache/ocicache"

// moduleDir is where the module lies, seen from here.
const moduleDir = "../.."

// house says which packages of ours each package imports; nil stands for all. It is the table in CONTRIBUTING.md, and
// depguard in .golangci.yml says the same. Places (layout, archive, registry) beyond the first never import one another.
var house = map[string][]string{
	"buildcache":        {},
	"internal/durable":  {},
	"internal/compress": {"buildcache"},
	"layout":            {"buildcache", "internal/durable"},
	"archive":           {"layout", "buildcache", "internal/compress", "internal/durable"},
	"registry":          {"layout", "buildcache"},
	"inspect":           {"layout", "buildcache", "internal/compress"},
	"convert":           {"layout", "buildcache", "inspect", "internal/compress"},
	"internal/progress": {"layout"},
	"cmd/ocicache":      nil,
}

// doors says which packages of ours alone may import a module of somebody else. Nobody imports BuildKit: its graph of
// modules stays in those of scripts.
var doors = map[string][]string{
	"github.com/opencontainers/umoci":          {"layout"},
	"github.com/klauspost/compress":            {"internal/compress"},
	"github.com/klauspost/readahead":           {"convert", "internal/compress"},
	"github.com/containerd/stargz-snapshotter": {"internal/compress"},
	"github.com/containers/image":              {"registry"},
	"go.podman.io/image":                       {"registry"},
	"github.com/vbauerster/mpb":                {"internal/progress"},
	"github.com/spf13/cobra":                   {"cmd/ocicache"},
	"github.com/spf13/pflag":                   {"cmd/ocicache"},
	"golang.org/x/term":                        {"cmd/ocicache"},
	"golang.org/x/sys":                         {"layout", "internal/durable"},
	"github.com/moby/buildkit":                 {},
}

// optional are the files that a build without tags leaves out.
var optional = []string{"cmd/ocicache/man_on.go"}

// goFile is one file that belongs to the program or its libraries.
type goFile struct {
	name    string // from the module's directory
	imports []string
	tags    constraint.Expr // nil for none
}

func (s goFile) folder() string { return path.Dir(s.name) }

// sources returns every file that is no test, whatever its build tags.
func sources(t *testing.T) []goFile {
	t.Helper()
	var found []goFile
	root := os.DirFS(moduleDir)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := path.Base(name); name != "." && (base[0] == '.' || base == "testdata" || name == "scripts") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(moduleDir, name), nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		s := goFile{name: name}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, imported)
		}
		for _, group := range file.Comments {
			for _, comment := range group.List {
				if constraint.IsGoBuild(comment.Text) {
					if s.tags, err = constraint.Parse(comment.Text); err != nil {
						return err
					}
				}
			}
		}
		found = append(found, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no files found")
	}
	return found
}

// within says whether a package is a module or lies in it.
func within(imported, module string) bool {
	rest, ok := strings.CutPrefix(imported, module)
	return ok && (rest == "" || rest[0] == '/')
}

// isForTests says whether a package helps tests only, as net/http/httptest does. It has no row, and no program has it.
func isForTests(folder string) bool { return strings.HasSuffix(folder, "test") }

func TestImportsOfOurs(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if isForTests(s.folder()) {
			continue
		}
		allowed, known := house[s.folder()]
		if !known {
			t.Errorf("%s: the package has no row in the table", s.name)
			continue
		}
		for _, imported := range s.imports {
			ours, ok := strings.CutPrefix(imported, module+"/")
			switch {
			case !ok:
			case isForTests(ours):
				t.Errorf("%s imports %s, which is for tests", s.name, ours)
			case allowed != nil && !slices.Contains(allowed, ours):
				t.Errorf("%s imports %s; it may import %v", s.name, ours, allowed)
			}
		}
	}
}

func TestDoors(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, imported := range s.imports {
			for door, allowed := range doors {
				if within(imported, door) && !slices.Contains(allowed, s.folder()) {
					t.Errorf("%s imports %s, which is for %v", s.name, imported, allowed)
				}
			}
		}
	}
}

// TestNoTags builds nothing: it looks for files that a plain build would leave out on this system.
func TestNoTags(t *testing.T) {
	t.Parallel()
	given := []string{runtime.GOOS, runtime.GOARCH, "unix", "gc"}
	for _, s := range sources(t) {
		if s.tags == nil || slices.Contains(optional, s.name) {
			continue
		}
		if !s.tags.Eval(func(tag string) bool { return slices.Contains(given, tag) || strings.HasPrefix(tag, "go1.") }) {
			t.Errorf("%s needs build tags: %s", s.name, s.tags)
		}
	}
}

// TestWithoutC says that every package that the program is made of has what it takes without a C compiler.
func TestWithoutC(t *testing.T) {
	t.Parallel()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command on the PATH")
	}
	list := exec.CommandContext(t.Context(), goTool, "list", "-deps", ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := list.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
