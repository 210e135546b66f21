package main

import (
	"bytes"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/internal/webpage/webpagetest"
)

// TestNamedPagesInBrowser looks at the pages of a real build, with the names that its provenance gives.
func TestNamedPagesInBrowser(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/07-file-content")
	cache, build := filepath.Join(dir, "builds/why/cache"), filepath.Join(dir, "builds/why/provenance.json")
	changed := filepath.Join(dir, "why-variants/07-file-content")
	for name, test := range map[string]struct {
		args  []string
		rows  int // with the step in a cell
		wants []string
	}{
		"inspect-steps": {[]string{"inspect", cache, "--provenance", build}, 16, []string{
			"<title>Dockerfile:7 RUN echo $FLAVOUR &gt; /flavour\n#13 e8afbff6037b, 1 result", ">17</text>",
			`<td class="step" title="Dockerfile:10 COPY assets/*.css /css/">`,
		}},
		"diff-steps": {
			[]string{"diff", cache, filepath.Join(changed, "new-cache"), "--provenance", build, "--provenance", filepath.Join(changed, "provenance.json")},
			18,
			[]string{`<td class="good">new</td><td class="t">Dockerfile:5</td><td class="name">COPY src/ ./</td><td>key</td>`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := filepath.Join(t.TempDir(), "page.html")
			var stdout, stderr bytes.Buffer
			a := &app{stdout: &stdout, stderr: &stderr}
			if status := a.run(t.Context(), append(test.args, "--html", page)); status != exitDone && status != exitFound {
				t.Fatalf("status %d: %s", status, &stderr)
			}
			raw, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			dom, picture := webpagetest.Look(t, name, func(w io.Writer) error {
				_, err := w.Write(raw)
				return err
			})
			if got := strings.Count(dom, `<td class="name">`); got != test.rows {
				t.Errorf("%d rows have a step, want %d", got, test.rows)
			}
			for _, want := range test.wants {
				if !strings.Contains(dom, want) {
					t.Errorf("the page does not have %s", want)
				}
			}
			if n := webpagetest.Count(picture, color.RGBA{A: 0xff}); n < 1000 {
				t.Errorf("only %d pixels are text", n)
			}
		})
	}
}
