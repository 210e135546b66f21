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
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ocicache/ocicache"

// moduleDir is where the module lies, seen from here.
const moduleDir = "../.."

// row matches a row of the table in CONTRIBUTING.md: the package, and what of ours it imports.
var row = regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|.*\\| ([a-z0-9/, ]+|–) \\|$")

// house returns what the table in CONTRIBUTING.md says which packages of ours each package imports; nil stands for all.
// Places never import one another, but for the first, layout, which says what a place is.
func house(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleDir, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	table := map[string][]string{}
	for _, match := range row.FindAllSubmatch(text, -1) {
		folder, imports := string(match[1]), string(match[2])
		switch imports {
		case "all":
			table[folder] = nil
		case "–":
			table[folder] = []string{}
		default:
			table[folder] = strings.Split(imports, ", ")
		}
	}
	if len(table) < 10 {
		t.Fatalf("the table in CONTRIBUTING.md has %d rows", len(table))
	}
	return table
}

// doors says which packages of ours alone may import a module of somebody else. Nobody imports BuildKit: its graph of
// modules stays in those of scripts.
var doors = map[string][]string{
	"github.com/opencontainers/umoci":          {"layout"},
	"github.com/klauspost/compress":            {"internal/compress"},
	"github.com/klauspost/readahead":           {"convert"},
	"golang.org/x/sync/errgroup":               {"internal/parallel"},
	"github.com/klauspost/reedsolomon":         {"internal/volumes"},
	"github.com/containerd/stargz-snapshotter": {"internal/compress"},
	"github.com/containers/image":              {"registry"},
	"oras.land/oras-go":                        {"registry"},
	"golang.org/x/time":                        {"registry"},
	"go.yaml.in/yaml":                          {"migrate"},
	"github.com/vbauerster/mpb":                {"internal/progress"},
	"github.com/sirupsen/logrus":               {"cmd/ocicache"},
	"github.com/spf13/cobra":                   {"cmd/ocicache"},
	"github.com/spf13/pflag":                   {"cmd/ocicache"},
	"golang.org/x/term":                        {"cmd/ocicache"},
	"golang.org/x/sys":                         {"internal/durable", "internal/line"},
	"github.com/moby/patternmatcher":           {"explain/contenthash"},
	"google.golang.org/protobuf":               {"explain/llb"},
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

// within reports whether a package is a module or lies in it.
func within(imported, module string) bool {
	rest, ok := strings.CutPrefix(imported, module)
	return ok && (rest == "" || rest[0] == '/')
}

// isForTests reports whether a package helps tests only, as net/http/httptest does. It has no row, and no program has it.
func isForTests(folder string) bool { return strings.HasSuffix(folder, "test") }

// TestImportsOfOurs says that the table allows what is imported, and nothing else.
func TestImportsOfOurs(t *testing.T) {
	t.Parallel()
	house, used := house(t), map[string][]string{}
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
			used[s.folder()] = append(used[s.folder()], ours)
		}
	}
	for folder, allowed := range house {
		for _, ours := range allowed {
			if !slices.Contains(used[folder], ours) {
				t.Errorf("%s may import %s, and does not", folder, ours)
			}
		}
	}
}

// TestDoors says the same of modules of somebody else.
func TestDoors(t *testing.T) {
	t.Parallel()
	used := map[string][]string{}
	for _, s := range sources(t) {
		for _, imported := range s.imports {
			for door, allowed := range doors {
				if !within(imported, door) {
					continue
				}
				if !slices.Contains(allowed, s.folder()) {
					t.Errorf("%s imports %s, which is for %v", s.name, imported, allowed)
				}
				used[door] = append(used[door], s.folder())
			}
		}
	}
	for door, allowed := range doors {
		for _, folder := range allowed {
			if !slices.Contains(used[door], folder) {
				t.Errorf("%s may import %s, and does not", folder, door)
			}
		}
	}
}

// systems are those that a file may be for; all but the last are kinds of Unix.
var systems = []string{"linux", "darwin", "freebsd", "windows"}

// TestNoTags builds nothing: it looks for files that a plain build leaves out on every system.
func TestNoTags(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, s := range sources(t) {
		found[s.name] = true
		if s.tags == nil || slices.Contains(optional, s.name) {
			continue
		}
		if !slices.ContainsFunc(systems, func(system string) bool { return isBuilt(s.tags, system) }) {
			t.Errorf("%s needs build tags: %s", s.name, s.tags)
		}
	}
	for _, name := range optional {
		if !found[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

// isBuilt reports whether a plain build for a system takes a file with a constraint.
func isBuilt(tags constraint.Expr, system string) bool {
	return tags.Eval(func(tag string) bool {
		return tag == system || tag == runtime.GOARCH || tag == "gc" || strings.HasPrefix(tag, "go1.") ||
			tag == "unix" && system != "windows"
	})
}

// TestIsBuilt looks at what counts as a tag, and what as a system.
func TestIsBuilt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line string
		on   []string // systems
	}{
		{line: "//go:build linux", on: []string{"linux"}},
		{line: "//go:build !linux", on: []string{"darwin", "freebsd", "windows"}},
		{line: "//go:build unix && !darwin", on: []string{"linux", "freebsd"}},
		{line: "//go:build !man", on: systems},
		{line: "//go:build man"},
		{line: "//go:build linux && man"},
		{line: "//go:build !linux && ignore"},
	} {
		tags, err := constraint.Parse(test.line)
		if err != nil {
			t.Fatal(err)
		}
		for _, system := range systems {
			if got := isBuilt(tags, system); got != slices.Contains(test.on, system) {
				t.Errorf("%s on %s: %t", test.line, system, got)
			}
		}
	}
}

// TestWithoutC says that every package that the program is made of has what it takes without a C compiler.
func TestWithoutC(t *testing.T) {
	t.Parallel()
	goTool, err := exec.LookPath("go")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no go command on the PATH")
		}
		t.Skip("NOT TESTED: no go command on the PATH")
	}
	list := exec.CommandContext(t.Context(), goTool, "list", "-deps", ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := list.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
