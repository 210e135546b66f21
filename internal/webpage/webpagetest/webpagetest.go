// Package webpagetest looks at pages in a browser that has no network.
package webpagetest

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// external matches what a page would have to load, or its policy would refuse: other files, and styles and handlers in elements. It does
// not match escaped text.
var external = regexp.MustCompile(
	`(?i)<[a-z0-9]+(\s+[a-z-]+(="[^"]*")?)*?\s+((src|style|on[a-z]+)\s*=|href="[^#])|<(link|img|iframe|base|form)\b|url\(|@import|https?:`)

// External returns something that a page would have to load, or its policy would refuse; "" for nothing.
func External(page string) string { return external.FindString(page) }

// variable makes tests look at pages: a browser is large, and should start once, not with every run of all tests.
const variable = "OCICACHE_TEST_BROWSER"

// Look writes a page to the artifacts of a test, with its screenshot, and returns what a browser makes of it: the elements, after
// scripts ran, and the picture. Anything that the page's policy refuses fails the test. Without a browser the test is skipped, or
// fails with E2E=required.
func Look(t *testing.T, name string, write func(io.Writer) error) (dom string, shot image.Image) {
	t.Helper()
	page := save(t, name, write)
	picture := strings.TrimSuffix(page, ".html") + ".png"
	dom, said := run(t, page, "--dump-dom")
	if said != "" {
		t.Errorf("%s: the browser says %s", name, said)
	}
	run(t, page, "--screenshot="+picture)
	raw, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	if shot, err = png.Decode(bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %v", picture, shot.Bounds())
	return dom, shot
}

// Refused is Look for a page with things that its policy refuses. It returns what the browser says about them instead of a picture.
func Refused(t *testing.T, name string, write func(io.Writer) error) (dom, said string) {
	t.Helper()
	return run(t, save(t, name, write), "--dump-dom")
}

// save writes a page to the artifacts of a test.
func save(t *testing.T, name string, write func(io.Writer) error) string {
	t.Helper()
	var html bytes.Buffer
	if err := write(&html); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.ArtifactDir(), name+".html")
	if err := os.WriteFile(page, html.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return page
}

// run opens a page, and returns what the browser prints, and its messages from the page's console: errors, and what is refused.
func run(t *testing.T, page, what string) (printed, said string) {
	t.Helper()
	if os.Getenv(variable) == "" {
		t.Skip("THE PAGE IS NOT LOOKED AT: make page does that")
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("E2E") == "required" {
			t.Fatal("there is no chromium")
		}
		t.Skip("THE PAGE IS NOT LOOKED AT: there is no chromium")
	}
	cmd := exec.CommandContext(t.Context(), browser,
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(), "--window-size=1000,1600",
		"--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--enable-logging=stderr", "--v=0", what, "file://"+page)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, "CONSOLE") {
			said += line
		}
	}
	return string(out), said
}

// Count returns how many pixels of a picture have a colour.
func Count(picture image.Image, want color.RGBA) int {
	n := 0
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			if color.RGBAModel.Convert(picture.At(x, y)) == want {
				n++
			}
		}
	}
	return n
}
