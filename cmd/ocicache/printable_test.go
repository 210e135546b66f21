package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{text: "plain, ümlaut, 漢字", want: "plain, ümlaut, 漢字"},
		{text: "a\nline\u2028of\u0085its\vown", want: `a\x0aline\u2028of\u0085its\x0bown`},
		{text: "\x1b[31mred", want: `\x1b[31mred`},
		{text: "a\rb\tc\x00\x7f", want: `a\x0db\x09c\x00\x7f`},
		{text: "\u009b2J\u202eevil", want: `\u009b2J\u202eevil`},
		{text: "bad \xff byte, \ufffd", want: `bad \xff byte, ` + "\ufffd"},
	} {
		if got := clean(test.text); got != test.want {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}

// forged is what must never begin a line. It comes behind everything that a terminal or a script may take for the end of
// one, and behind what parts columns.
const forged = "ocicache: hint: FORGED"

func breaks() string {
	var text strings.Builder
	for _, end := range []string{"\n", "\r", "\r\n", "\v", "\f", "\t", "\u0085", "\u2028", "\u2029", "\x1b[1E"} {
		text.WriteString(end + forged)
	}
	return text.String()
}

// hostileCache returns a copy of a cache of the corpus with a tag, and the media types of layers, that nobody wants to see
// written out.
func hostileCache(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cache")
	quoted, err := json.Marshal(breaks())
	if err := errors.Join(err, os.CopyFS(dir, os.DirFS(filepath.Join(corpus, name)))); err != nil {
		t.Fatal(err)
	}
	evil := strings.Trim(string(quoted), `"`)
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(string(index))
	root, err := os.ReadFile(blobPath(dir, digest.Digest(first)))
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(string(root), `.tar+gzip"`, `.tar+gzip`+evil+`"`, 1)
	now := digest.FromString(bad)
	text := strings.ReplaceAll(string(index), first, now.String())
	text = strings.Replace(text, `.ref.name":"`, `.ref.name":"v`+evil, 1)
	err = errors.Join(os.WriteFile(blobPath(dir, now), []byte(bad), 0o600), os.WriteFile(filepath.Join(dir, "index.json"), []byte(text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// tarOf packs a directory as anybody would.
func tarOf(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostile.tar")
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), os.WriteFile(path, out.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNothingForgesALine has every command that shows what others wrote show the worst of it, as a result and as an error.
func TestNothingForgesALine(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, args := range [][]string{
		{"inspect", "DIR"},
		{"inspect", "TAR"},
		{"inspect", "TWO"},
		{"verify", "DIR"},
		{"verify", "DIR", "--deep"},
		{"verify", "TAR"},
		{"verify", "TWO"},
		{"convert", "DIR", "--to", "docker-list"},
		{"convert", "DIR", "--to", "oci-index", "--dry-run"},
		{"convert", "TWO", "--to", "docker-list"},
		{"convert", "DIR", "OUT", "--compression", "zstd"},
		{"copy", "DIR", "OUT"},
		{"copy", "TWO", "OUT"},
		{"copy", "TWO", "OUT", "--debug"},
		{"copy", "TWO", "OUT", "--tag", "v9"},
		{"sync", "DIR", "OUT"},
		{"sync", "DIR", "OUT", "--dry-run"},
		{"sync", "TWO", "OUT", "--match", "none"},
		{"pack", "DIR", "FILE"},
		{"pack", "DIR", "FILE", "--dry-run"},
		{"pack", "TWO", "FILE", "--to", "docker-list"},
		{"unpack", "TAR", "OUT"},
		{"unpack", "TAR", "OUT", "--dry-run", "--debug"},
		{"extract", "DIR", "OUT"},
		{"extract", "TWO", "OUT", "--tag", "v9"},
		{"extract", "IMAGE", "OUT"},
		{"inspect", "IMAGE"},
		{"verify", "IMAGE"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			dir, two := hostileCache(t, "artifact-gzip"), hostileCache(t, "multi-tag")
			out := t.TempDir()
			names := strings.NewReplacer("DIR", dir, "TWO", two, "TAR", tarOf(t, dir), "IMAGE", hostileCache(t, "inline-image"),
				"OUT", filepath.Join(out, "out"), "FILE", filepath.Join(out, "file.tar"))
			var line []string
			for _, arg := range args {
				line = append(line, names.Replace(arg))
			}
			var stdout, stderr bytes.Buffer
			run(line, &stdout, &stderr)
			text := stdout.String() + stderr.String()
			if strings.Contains(text, "FORGED") {
				shown[args[0]] = true
			}
			for _, line := range regexp.MustCompile("[\n\r\v\f\u0085\u2028\u2029\x1b]").Split(text, -1) {
				if strings.HasPrefix(strings.TrimPrefix(line, "[1E"), forged) {
					t.Fatalf("there is a line that the tag or the media type wrote:\n%s", text)
				}
			}
		})
	}
	for _, command := range []string{"inspect", "verify", "convert", "copy", "sync", "pack", "unpack", "extract"} {
		if !shown[command] {
			t.Errorf("%s showed nothing of what was to be cleaned", command)
		}
	}
}

// TestResultsAreSaid keeps what is written to results to say and sayRow.
func TestResultsAreSaid(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if file != "printable.go" && !strings.HasSuffix(file, "_test.go") &&
			regexp.MustCompile(`fmt\.Fprint\w*\(w,`).Match(source) {
			t.Errorf("%s writes to a result with package fmt; say keeps lines whole", file)
		}
	}
}

func TestBrief(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxLine)
	for _, test := range []struct{ text, want string }{
		{text: "", want: ""},
		{text: "one\ntwo\n", want: "one\ntwo\n"},
		{text: long + "\n" + long, want: long + "\n" + long},
		{text: "a" + long + "b\nnext", want: "a" + long[1:maxLine/2] + "... (2 bytes left out) ..." + long[1:maxLine/2] + "b\nnext"},
	} {
		if got := brief(test.text); got != test.want {
			t.Errorf("%d bytes: %d, want %d", len(test.text), len(got), len(test.want))
		}
	}
}
