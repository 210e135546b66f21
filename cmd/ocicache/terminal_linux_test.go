package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/internal/registrytest"
)

// onTerminal runs the program on a terminal of so many columns, and returns what it shows there.
func onTerminal(t *testing.T, width int, dir string, env []string, args ...string) string {
	t.Helper()
	return onTerminalUntil(t, width, dir, env, nil, args...)
}

// onTerminalUntil does so, and calls begun with the process and what it has shown so far, until that is true.
func onTerminalUntil(
	t *testing.T, width int, dir string, env []string, begun func(p *os.Process, shown string) bool, args ...string,
) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") != "" {
		t.Fatalf("the pseudo-terminals that are here can't be opened: %v", err)
	}
	if err != nil {
		t.Skipf("NOT TESTED: no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: uint16(width)}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan string, 1)
	cmd := exec.CommandContext(t.Context(), "ocicache", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, slave, slave
	cmd.Env = append(append(os.Environ(), "GORACE="+noSleep, "TERM=xterm"), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		var all []byte
		part := make([]byte, 4096)
		for {
			n, err := master.Read(part) // ends with an error, when the other side is closed
			if all = append(all, part[:n]...); begun != nil && begun(cmd.Process, string(all)) {
				begun = nil
			}
			if err != nil {
				shown <- string(all)
				return
			}
		}
	}()
	_ = cmd.Wait() // the status is not what this is about
	_ = slave.Close()
	return strings.ReplaceAll(<-shown, "\r\n", "\n")
}

// colourPattern matches what takes no room on a terminal.
var colourPattern = regexp.MustCompile("\x1b\\[[0-9;]*m")

// terminalWork makes what the commands are run on, and returns the directory and the command lines.
func terminalWork(t *testing.T) (dir string, lines map[string][]string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"multi-tag", "docker-list-gzip", "artifact-zstd", "dangling-index"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(corpus, name))); err != nil {
			t.Fatal(err)
		}
	}
	if err := explaintest.UnpackTo(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	server := registrytest.New(t, registrytest.Options{})
	plan := "version: 1\nmigrations:\n  - source: oci:multi-tag\n    target: docker://" + server.Host + "/a-team-with-a-name/and-a-repository\n" +
		"  - source: oci:docker-list-gzip\n    target: docker://" + server.Host + "/refuses-lists\n"
	if err := os.WriteFile(filepath.Join(dir, "plan.yaml"), []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	t.Chdir(dir)
	run([]string{"migrate", "run", "plan.yaml", "--state", "state.jsonl", "--tls-verify=false"}, &out, &out)
	return dir, map[string][]string{
		"inspect": {"inspect", "multi-tag"}, "inspect list": {"inspect", "docker-list-gzip"},
		"inspect steps": {"inspect", "builds/why/cache", "--provenance", "builds/why/provenance.json"},
		"inspect bare":  {"inspect", "builds/why/cache", "--steps"},
		"diff steps":    {"diff", "builds/why/cache", "why-variants/04-env/new-cache", "--provenance", "builds/why/provenance.json"},
		"prune steps":   {"prune", "builds/why/cache", "--leaves", "--dry-run", "--provenance", "builds/why/provenance.json"},
		"convert":       {"convert", "docker-list-gzip", "--to", "artifact", "--dry-run"},
		"ls":            {"ls", "multi-tag"}, "diff": {"diff", "docker-list-gzip", "artifact-zstd"},
		"migrate report": {"migrate", "report", "state.jsonl"}, "migrate check": {"migrate", "check", "plan.yaml", "--tls-verify=false"},
		"registries": {"registries"}, "registry": {"registries", "ecr"}, "verify": {"verify", "multi-tag", "--for", "quay"},
		"copy": {"copy", "docker-list-gzip", "copied", "--dry-run"}, "sync": {"sync", "multi-tag", "synced", "--dry-run"},
		"merge": {"merge", "docker-list-gzip", "artifact-zstd", "merged", "--dry-run"}, "pack": {"pack", "multi-tag", "x.tar", "--dry-run"},
		"explain": {"explain", "builds/why/cache", "--provenance", "builds/why/provenance.json"},
		"explain why": {
			"explain", "builds/why/cache", "--provenance", "why-variants/07-file-content/provenance.json", "--why",
			"--context", "builds/why/context",
		},
		"explain caches": {"explain", "docker-list-gzip", "artifact-zstd"},
		"an error":       {"inspect", "oci:multi-tag:a-tag-that-is-not-there-and-has-a-long-name"},
		"verify unnamed": {"verify", "dangling-index"}, "repair unnamed": {"repair", "dangling-index"},
		"help": {"help"}, "gc": {"gc", "multi-tag", "--dry-run"}, "rm": {"rm", "multi-tag", "--keep", "0", "--dry-run"},
	}
}

// TestTerminalWidth says that nothing that a command shows is wider than the terminal, but for words that are to be copied; that nothing
// is lost for that on a wide one; and that digests are short there, and whole elsewhere.
func TestTerminalWidth(t *testing.T) {
	dir, lines := terminalWork(t)
	for i, name := range slices.Sorted(maps.Keys(lines)) {
		args := append(slices.Clone(lines[name]), "--progress", "none") // which begins after a second, on a busy machine anywhere
		for j, width := range []int{60, 80, 200} {
			if j > 0 && (i+j)%3 >= quicktest.Rounds(1, 3) { // the narrow one always, and of the others some with each command
				continue
			}
			t.Run(fmt.Sprintf("%s at %d", name, width), func(t *testing.T) {
				shown := onTerminal(t, width, dir, []string{"NO_COLOR=1"}, args...)
				t.Logf("\n%s", shown)
				if strings.TrimSpace(shown) == "" || strings.Contains(shown, "%!") || strings.Contains(shown, `\x0a`) {
					t.Fatal("nothing was shown, or it was not written right")
				}
				for line := range strings.Lines(shown) {
					line = strings.TrimRight(colourPattern.ReplaceAllString(line, ""), "\n")
					if n := utf8.RuneCountInString(line); n > width && len(strings.Fields(line)) > 1 && !strings.HasPrefix(line, "      ocicache ") {
						t.Errorf("a line of %d columns: %s", n, line)
					}
				}
				if width == 60 && args[0] == "inspect" && strings.Contains(shown, "application/") {
					t.Error("the media type is shown beside the form that says the same")
				}
				if strings.Contains(shown, " \n") {
					t.Error("a line ends with a space")
				}
				if regexp.MustCompile(`(?m)(^|\s)sha256:[0-9a-f]{64}`).MatchString(shown) {
					t.Error("a whole digest")
				}
			})
		}
	}
}

// TestColour says that colours are where they say something, on a terminal alone, and not with NO_COLOR.
func TestColour(t *testing.T) {
	dir, lines := terminalWork(t)
	for _, test := range []struct {
		name, want string
		env        []string
		args       []string
	}{
		{"differences", "\x1b[33m~ record", nil, lines["diff"]},
		{"a problem", "\x1b[31merror:\x1b[0m registry-form", nil, lines["verify"]},
		{"an error", "\x1b[31mocicache: error:\x1b[0m ", nil, lines["an error"]},
		{"nothing to say", "", nil, lines["inspect"]},
		{"not wanted", "", []string{"NO_COLOR=1"}, lines["diff"]},
		{"no colours there", "", []string{"TERM=dumb"}, lines["an error"]},
		{"as JSON", "", nil, append([]string{"--json"}, lines["diff"]...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			shown := onTerminal(t, 80, dir, test.env, append([]string{"--progress", "none"}, test.args...)...)
			if strings.Contains(shown, "\x1b") != (test.want != "") || !strings.Contains(shown, test.want) {
				t.Errorf("it shows %q", shown)
			}
		})
	}
	var stdout, stderr bytes.Buffer
	if run(lines["diff"], &stdout, &stderr); strings.Contains(stdout.String()+stderr.String(), "\x1b") {
		t.Error("colours outside of a terminal")
	}
}

// TestInterruptedOnTerminal says that Ctrl-C leaves no bars behind.
func TestInterruptedOnTerminal(t *testing.T) {
	t.Parallel()
	cache, err := filepath.Abs(filepath.Join(corpus, "artifact-gzip"))
	if err != nil {
		t.Fatal(err)
	}
	server := registrytest.New(t, registrytest.Options{})
	server.Inject(registrytest.Fault{Method: "PUT", Path: "/blobs/uploads/", Times: -1, Hang: true})
	shown := onTerminalUntil(t, 80, t.TempDir(), nil, func(p *os.Process, shown string) bool {
		return strings.Contains(shown, "convert  ") && p.Signal(os.Interrupt) == nil
	}, "copy", cache, "docker://"+server.Host+"/cache:main", "--tls-verify=false")
	at := strings.LastIndex(shown, "\x1b[J")
	if at < 0 || !strings.Contains(shown[at:], "ocicache: error:") || !strings.Contains(shown[at:], "interrupted") || strings.Contains(shown[at:], "[-") {
		t.Errorf("it ends with %q", shown[max(0, at-200):])
	}
}
