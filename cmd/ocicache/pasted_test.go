package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// checksPasted is the variable that has every command checked that the program prints.
const checksPasted = "OCICACHE_TEST_PASTED"

// exitPasted is the exit status of a program that printed a command which does not work.
const exitPasted = 99

// mainPasted is the program, which in scripts fails where it prints a command that can't be run as it stands.
func mainPasted() {
	os.Exit(runPasted(os.Args[1:], os.Stdout, os.Stderr))
}

// runPasted is run, and in scripts fails as mainPasted does.
func runPasted(args []string, stdout, stderr io.Writer) int {
	if os.Getenv(checksPasted) == "" || len(args) == 0 || slices.Contains(args, "help") || slices.Contains(args, "--help") {
		return run(args, stdout, stderr)
	}
	var said transcript
	status := run(args, io.MultiWriter(stdout, &said), io.MultiWriter(stderr, &said))
	for _, command := range printedCommands(said.text.String()) {
		if err := checkPasted(command); err != nil {
			fmt.Fprintf(stderr, "%v: printed %s: %v\n", args, command, err)
			status = exitPasted
		}
	}
	return status
}

// transcript keeps what is written to standard output and standard error. Progress is written while an archive or lines of results are.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

// printedPattern matches commands in sentences, and those that end a line.
var printedPattern = regexp.MustCompile("(?m)'(?:[^'`|]*\\| )?(ocicache [^'`]*)'|`(?:[^`|]*\\| )?(ocicache [^`]*)`|(?:^ +|: )(ocicache [a-z]+ .*)$")

// printedCommands returns the commands of ours that some output has.
func printedCommands(text string) (commands []string) {
	for _, match := range printedPattern.FindAllStringSubmatch(text, -1) {
		if command := strings.Join(match[1:], ""); !strings.HasPrefix(command, "ocicache packs an") {
			commands = append(commands, command)
		}
	}
	return commands
}

// shellWords returns what a shell makes of a command.
func shellWords(command string) ([]string, error) {
	if !strings.ContainsAny(command, "'\"\\`$*?[]{}()<>|&;#~!\n") {
		return strings.Fields(command), nil // what any shell makes of it
	}
	said, err := exec.Command("bash", "-uc", `printf '%s\0' `+command).Output()
	return strings.Split(strings.TrimSuffix(string(said), "\x00"), "\x00"), err
}

// checkPasted says what is wrong with a command: it is none, misses an argument, has flags that are not there, or names something that
// whoever reads it has to know better.
func checkPasted(command string) error {
	command = regexp.MustCompile(`"\$[A-Z_]+"`).ReplaceAllString(command, "secret")
	words, err := shellWords(command)
	if err != nil {
		return fmt.Errorf("no shell reads it: %w", err)
	}
	a := &app{stdout: io.Discard, stderr: io.Discard, args: words[1:]}
	cmd, rest, err := a.command().Find(words[1:])
	if err != nil || !cmd.HasParent() {
		return fmt.Errorf("no such command: %w", err)
	}
	if slices.Contains(rest, "--help") || cmd.HasSubCommands() {
		return nil
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	args := cmd.Flags().Args()
	for _, arg := range args {
		if arg == "REF" || arg == "SRC" || strings.Contains(arg, "...") {
			return fmt.Errorf("%s is to be replaced", arg)
		}
	}
	return cmd.Args(cmd, args)
}

// awkward are names of directories that shells, CSV and references read as something else.
var awkward = []string{
	"plain", "a b", " around ", "it's", `"double"`, "a,b", "-dash", "$HOME", "`id`", "a\nb", "a;b&c", "*", "grüße", "a:b", "oci:a", "docker:x",
	"type=local", "a=b", `back\slash`, "~", "#no", "a\tb", "a@sha256:b", "'", "\x1b[31m", "\xff", "REF'S `own`",
}

// TestPastedNames runs what is said of directories with awkward names, as it stands: it does not fail for the way it is written.
func TestPastedNames(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"plain", " it's, $HOME ", "-dash `id`", "oci:a\n\xff", "a:b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := map[string]bool{}
			for j, test := range []struct {
				cache string
				spoil func(t *testing.T, dir string)
				args  []string
			}{
				{"dangling-index", nil, []string{"verify"}},
				{"dangling-index", nil, []string{"gc"}},
				{"dangling-index", nil, []string{"copy", "oci:to"}},
				{"docker-list-gzip", withoutIndex, []string{"verify"}},
				{"docker-list-gzip", withoutIndex, []string{"gc"}},
				{"docker-list-gzip", withoutIndex, []string{"inspect"}},
				{"docker-list-gzip", withoutLayer, []string{"verify"}},
				{"docker-list-gzip", withoutLayer, []string{"convert", "--to", "artifact"}},
				{"stale-blobs", nil, []string{"verify"}},
				{"stale-blobs", nil, []string{"convert", "--to", "docker-list"}},
			} {
				if (i+j)%3 >= quicktest.Rounds(1, 3) { // others with each name
					continue
				}
				pasted(t, name, test.cache, test.spoil, test.args, seen)
			}
		})
	}
}

func withoutIndex(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

func withoutLayer(t *testing.T, dir string) {
	t.Helper()
	_, _, layers, err := readCache(dir, "")
	if err == nil {
		err = os.Remove(blobPath(dir, layers[0].Digest))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// pasted runs a command where something is wrong, and all that it prints, each in a state of its own, and each once.
func pasted(t *testing.T, name, cache string, spoil func(*testing.T, string), args []string, seen map[string]bool) {
	t.Helper()
	prepare := func() string {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.CopyFS(path, os.DirFS(filepath.Join(corpus, cache))); err != nil {
			t.Fatal(err)
		}
		if spoil != nil {
			spoil(t, path)
		}
		return dir
	}
	stdout, stderr := runIn(t, prepare(), slices.Insert(slices.Clone(args), 1, "./"+name)...)
	said := string(stdout) + string(stderr)
	for _, command := range printedCommands(said) {
		if err := checkPasted(command); err != nil {
			t.Errorf("%v: printed %s: %v\n%s", args, command, err, said)
			continue
		}
		if key := cache + fmt.Sprint(spoil != nil, command); seen[key] {
			continue
		} else {
			seen[key] = true
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-c", command)
		cmd.Dir, cmd.Env = prepare(), append(os.Environ(), "GORACE="+noSleep)
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != exitDone && status != exitFound {
			t.Errorf("%v %q: pasted, %s has status %d: %s", args, name, command, status, out)
		}
	}
	if len(printedCommands(said)) == 0 {
		t.Errorf("%v %q of %s: no command:\n%s", args, name, cache, said)
	}
}

// TestPastedReferences writes references as words of a shell, and reads them again.
func TestPastedReferences(t *testing.T) {
	t.Parallel()
	for _, path := range awkward {
		for _, tag := range []string{"", "latest", "v1", "a/b:c", "-x", "a b"} {
			s := subject{ref: layout.Reference{Transport: layout.TransportPath, Path: path, Tag: tag}}
			words, err := shellWords(s.command("verify"))
			if err != nil {
				t.Fatal(err)
			}
			a := &app{stdout: io.Discard, stderr: io.Discard}
			cmd, rest, err := a.command().Find(words[1:])
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil {
				t.Fatal(err)
			}
			ref, err := parse(cmd.Flags().Arg(0), cmd.Flags().Lookup("tag").Value.String())
			if want := tag; err != nil || strings.TrimPrefix(ref.Path, "./") != path || ref.Tag != want && layout.CheckTag(want) == nil {
				t.Errorf("%q, tag %q: %v is %+v (%v)", path, tag, words, ref, err)
			}
		}
	}
}
