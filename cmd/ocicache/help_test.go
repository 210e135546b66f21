package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// helpOf returns what a command line of help prints outside of a terminal.
func helpOf(t *testing.T, args ...string) []string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(args, &stdout, &stderr); status != exitDone || stderr.Len() > 0 {
		t.Fatalf("%v: status %d, %s", args, status, stderr.String())
	}
	return strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
}

// TestHelpFits says that help fits a screen, and is no wider than one but for examples, which are to be copied.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	for _, cmd := range commandsBelow((&app{}).command()) {
		if cmd.Hidden || cmd.Name() == "help" || strings.Contains(cmd.CommandPath(), "completion") {
			continue
		}
		inExamples := false
		lines := helpOf(t, append([]string{"help"}, strings.Fields(cmd.CommandPath())[1:]...)...)
		if cmd.HasParent() && !cmd.IsAdditionalHelpTopicCommand() && len(lines) > maxHelpLines {
			t.Errorf("the help of %s has %d lines", cmd.CommandPath(), len(lines))
		}
		for _, line := range lines {
			inExamples = line == "Examples:" || inExamples && line != ""
			if n := utf8.RuneCountInString(line); n > helpWidth && !inExamples && !strings.HasPrefix(line, "  docker ") {
				t.Errorf("%s: a line of %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
	}
}

// TestHelpGroups says that flags of registries come after those that a command is about, each twin in one sentence.
func TestHelpGroups(t *testing.T) {
	t.Parallel()
	text := strings.Join(helpOf(t, "convert", "--help"), "\n")
	to, group, creds := strings.Index(text, "\n  --to FORM "), strings.Index(text, "\nFlags for registries (--src-"), strings.Index(text, "\n  --creds ")
	if to < 0 || group < to || creds < group {
		t.Errorf("--to at %d, the group at %d, --creds at %d:\n%s", to, group, creds, text)
	}
	if strings.Contains(text, "\n  --src-creds") {
		t.Error("twins are listed one by one")
	}
}

var getenvPattern = regexp.MustCompile(`(?:Getenv|LookupEnv)\("(\w+)"\)`)

// TestEnvironment says that the help names every variable that the program reads, once, and that the commands name those that they read.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	topic := strings.Join(helpOf(t, "help", "environment"), "\n")
	found := 0
	for _, pattern := range []string{"*/*.go", "*/*/*.go"} {
		paths, err := filepath.Glob(filepath.Join(moduleDir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "scripts/") || strings.Contains(path, "test/") ||
				filepath.Base(path) == "man_on.go" { // which is in no program but the one that makes the manual
				continue
			}
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range getenvPattern.FindAllStringSubmatch(string(source), -1) {
				found++
				if strings.Count(topic, "\n  "+match[1]+"\n") != 1 {
					t.Errorf("%s reads %s, which 'ocicache help environment' does not name", path, match[1])
				}
			}
		}
	}
	if found == 0 {
		t.Error("nothing is read")
	}
	for command, want := range map[string]string{"ls": "REGISTRY_AUTH_FILE", "convert": "TMPDIR", "migrate run": "JOB_COMPLETION_INDEX"} {
		if text := strings.Join(helpOf(t, append([]string{"help"}, strings.Fields(command)...)...), "\n"); !strings.Contains(text, want) {
			t.Errorf("the help of %s does not name %s", command, want)
		}
	}
}
