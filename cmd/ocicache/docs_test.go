package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// documents returns the paths of README.md and its like.
func documents(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(moduleDir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		t.Fatal("no documents found")
	}
	return paths
}

func readDocument(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocuments says that documents show what the program does today: the kinds of problems, and what it prints. With
// -update it writes that down, but for what is shown in part; look at the diff.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for _, path := range documents(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			text := readDocument(t, path)
			want := withOutput(t, withRegistries(withKinds(text)))
			switch {
			case text == want:
			case *update:
				if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("out of date; 'make golden' writes\n%s", want)
			}
		})
	}
}

var kindsTable = regexp.MustCompile(`(?s)(<!-- kinds -->\n).*(<!-- /kinds -->\n)`)

// withKinds returns a document with the table of kinds as it should be.
func withKinds(text string) string {
	var table strings.Builder
	table.WriteString("| kind | effect | meaning | what to do |\n|---|---|---|---|\n")
	any := subject{ref: layout.Reference{Transport: layout.TransportPath, Path: "REF"}}
	for _, info := range buildcache.Kinds() {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", info.Kind, info.Effect, info.Means, any.remedy(buildcache.NewProblem(info.Kind, "", "")))
	}
	return kindsTable.ReplaceAllString(text, "${1}"+table.String()+"${2}")
}

var registriesTable = regexp.MustCompile(`(?s)(<!-- registries -->\n).*(<!-- /registries -->\n)`)

// withRegistries returns a document with the table of registries as it should be.
func withRegistries(text string) string {
	var table strings.Builder
	table.WriteString("| `--for` | registry | docker-list | oci-index | artifact |\n|---|---|---|---|---|\n")
	for _, p := range registry.Profiles() {
		fmt.Fprintf(&table, "| `%s` | %s |", p.Name, p.Title)
		for _, form := range []buildcache.Form{buildcache.DockerList, buildcache.OCIIndex, buildcache.Artifact} {
			fmt.Fprintf(&table, " %s |", taken(p.Forms[form]))
		}
		table.WriteByte('\n')
	}
	return registriesTable.ReplaceAllString(text, "${1}"+table.String()+"${2}")
}

// taken says in a word whether a registry takes a form.
func taken(v registry.Verdict) string {
	switch {
	case v.Confidence == registry.Unknown:
		return "unknown"
	case v.Confidence == registry.Sure && v.Takes:
		return "**yes**"
	case v.Confidence == registry.Sure:
		return "**no**"
	case v.Takes:
		return "probably"
	default:
		return "probably not"
	}
}

var consoleBlock = regexp.MustCompile("(?s)\n```console\n.*?\n```\n")

// withOutput returns a document with every console block as it should be. The commands of one document run one after
// the other, in a directory that has testdata.
func withOutput(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	data, err := filepath.Abs(filepath.Join(moduleDir, "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(data, filepath.Join(dir, "testdata")); err != nil {
		t.Fatal(err)
	}
	return consoleBlock.ReplaceAllStringFunc(text, func(block string) string {
		lines := strings.Split(strings.TrimSuffix(strings.TrimPrefix(block, "\n```console\n"), "\n```\n"), "\n")
		var want []string
		for len(lines) > 0 {
			end := slices.IndexFunc(lines[1:], func(line string) bool { return strings.HasPrefix(line, "$ ") }) + 1
			if end == 0 {
				end = len(lines)
			}
			want = append(want, lines[0])
			want = append(want, outputOf(t, dir, strings.TrimPrefix(lines[0], "$ "), lines[1:end])...)
			lines = lines[end:]
		}
		return "\n```console\n" + strings.Join(want, "\n") + "\n```\n"
	})
}

// outputOf runs a command of a document. It returns shown where that is what was printed, else what was printed.
func outputOf(t *testing.T, dir, command string, shown []string) []string {
	t.Helper()
	demo := filepath.Join(dir, "ocicache-demo")
	command = strings.NewReplacer("go run ./cmd/ocicache", "ocicache", "/tmp/ocicache-demo", demo).Replace(command)
	text := strings.TrimSuffix(strings.ReplaceAll(runLine(t, dir, command), demo, "/tmp/ocicache-demo"), "\n")
	var printed []string
	if text != "" {
		printed = strings.Split(text, "\n")
	}
	if shows(shown, printed) {
		return shown
	}
	return printed
}

// progressPattern matches what is said where something takes long, as it does on a busy machine.
var progressPattern = regexp.MustCompile(`(?m)^ocicache: (?:[a-z]+: \d+ of \d+ blobs|took \d).*\n`)

// runLine runs as much of a shell's language as documents need, for there may be no shell.
func runLine(t *testing.T, dir, command string) string {
	t.Helper()
	command, withStatus := strings.CutSuffix(command, `; echo "status $?"`)
	words := strings.Fields(command)
	if words[0] == "cp" && len(words) == 4 {
		if err := os.CopyFS(filepath.Join(dir, words[3]), os.DirFS(filepath.Join(dir, words[2]))); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	if words[0] == "echo" && len(words) == 4 && words[2] == ">" {
		if err := os.WriteFile(filepath.Join(dir, words[3]), []byte(words[1]+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	if strings.HasPrefix(command, "tar --zstd -xf testdata/explain/") {
		if err := explaintest.UnpackTo(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	program := exec.CommandContext(t.Context(), words[0], words[1:]...)
	program.Dir, program.Env = dir, append(os.Environ(), "GORACE="+noSleep)
	out, err := program.CombinedOutput()
	out = progressPattern.ReplaceAll(out, nil)
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	switch {
	case withStatus:
		out = fmt.Appendf(out, "status %d\n", program.ProcessState.ExitCode())
	case err != nil:
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// agePattern matches what changes from day to day.
var agePattern = regexp.MustCompile(`\d+ \w+ ago`)

// shows reports whether shown is what was printed, but for ages. A line of three dots stands for any lines.
func shows(shown, printed []string) bool {
	switch {
	case len(shown) == 0:
		return len(printed) == 0
	case shown[0] == "...":
		for i := range len(printed) + 1 {
			if shows(shown[1:], printed[i:]) {
				return true
			}
		}
		return false
	case len(printed) == 0:
		return false
	default:
		timeless := func(line string) string {
			return strings.Join(strings.Fields(agePattern.ReplaceAllString(line, "some time ago")), " ")
		}
		return timeless(shown[0]) == timeless(printed[0]) && shows(shown[1:], printed[1:])
	}
}

var (
	fencedPattern = regexp.MustCompile("(?sm)^```(?:sh|console)\n(.*?)^```$")
	linePattern   = regexp.MustCompile(`(?m)^(?:\$ )?(?:go run \./cmd/)?(ocicache [a-z].*)$`)
	inlinePattern = regexp.MustCompile("`(ocicache [a-z][^`\n]*)`")
	flagPattern   = regexp.MustCompile(`--[a-z][a-z-]*`)
)

// commandsIn returns the command lines of ocicache in a document.
func commandsIn(text string) []string {
	var lines []string
	for _, block := range fencedPattern.FindAllStringSubmatch(text, -1) {
		for _, match := range linePattern.FindAllStringSubmatch(block[1], -1) {
			line, _, _ := strings.Cut(match[1], " #")
			lines = append(lines, line)
		}
	}
	for _, match := range inlinePattern.FindAllStringSubmatch(text, -1) {
		lines = append(lines, match[1])
	}
	return lines
}

// TestDocumentedCommands says that every command and every flag in a document is there.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	found := 0
	for _, path := range documents(t) {
		for _, line := range commandsIn(readDocument(t, path)) {
			found++
			root := (&app{stdout: io.Discard, stderr: io.Discard}).command()
			root.InitDefaultCompletionCmd()
			words := strings.Fields(line)[1:]
			if words[0] == "help" {
				words = words[1:]
			}
			cmd, _, err := root.Find(words)
			if err != nil || cmd == root {
				t.Errorf("%s: no such command: %s", path, line)
				continue
			}
			for _, name := range flagPattern.FindAllString(line, -1) {
				if !hasFlag(cmd, strings.TrimPrefix(name, "--")) {
					t.Errorf("%s: no flag %s: %s", path, name, line)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no commands found")
	}
}

func hasFlag(cmd *cobra.Command, name string) bool {
	return name == "help" || cmd.Flag(name) != nil || cmd.InheritedFlags().Lookup(name) != nil
}

// linkPattern matches links to files of ours; the first group is the function, where the text of the link is one.
var linkPattern = regexp.MustCompile("\\[(?:`([\\w.]+)`|[^\\]]*)\\]\\(([^):#]+)(?:#[^)]*)?\\)")

// TestDocumentedNames says that the files that documents link to are there, and have the functions named.
func TestDocumentedNames(t *testing.T) {
	t.Parallel()
	functions := 0
	for _, path := range documents(t) {
		for _, match := range linkPattern.FindAllStringSubmatch(readDocument(t, path), -1) {
			name, file := match[1], filepath.Join(filepath.Dir(path), match[2])
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if name == "" || filepath.Ext(file) != ".go" {
				continue
			}
			functions++
			if !declares(t, file, name[strings.IndexByte(name, '.')+1:]) {
				t.Errorf("%s: no %s in %s", path, name, file)
			}
		}
	}
	if functions == 0 {
		t.Error("no functions found")
	}
}

// declares reports whether a file declares a function, or a method written as Type.Method.
func declares(t *testing.T, path, name string) bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(file.Decls, func(decl ast.Decl) bool {
		function, ok := decl.(*ast.FuncDecl)
		if !ok {
			return false
		}
		declared := function.Name.Name
		if function.Recv != nil {
			receiver := function.Recv.List[0].Type
			if star, ok := receiver.(*ast.StarExpr); ok {
				receiver = star.X
			}
			if ident, ok := receiver.(*ast.Ident); ok {
				declared = ident.Name + "." + declared
			}
		}
		return declared == name || function.Recv != nil && function.Name.Name == name
	})
}

// TestDocumentedStatuses says that the README lists every exit status.
func TestDocumentedStatuses(t *testing.T) {
	t.Parallel()
	text := readDocument(t, filepath.Join(moduleDir, "README.md"))
	for _, status := range []int{exitDone, exitFailed, exitUsage, exitFound, exitNotFound, exitLocked, exitRefused, exitInterrupted, exitPipe} {
		if !strings.Contains(text, fmt.Sprintf("\n| %d | ", status)) {
			t.Errorf("the README has no row for status %d", status)
		}
	}
}

// TestReadmeIsShort says that the README stays what one reads before one decides; the rest is in docs.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	const most = 12_000
	if size := len(readDocument(t, filepath.Join(moduleDir, "README.md"))); size > most {
		t.Errorf("the README has %d bytes, and should have %d at most", size, most)
	}
}
