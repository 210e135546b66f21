package webpage_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/internal/webpage"
	"github.com/ocicache/ocicache/internal/webpage/webpagetest"
)

// sorted is a page with a table.
var sorted = webpage.Page{
	Title: "<b>A table</b>", Sortable: true, Data: []string{"10 B", "<9 B>"},
	Body: `<table class="sortable"><thead><tr><th class="n">size</th></tr></thead><tbody>{{range .}}<tr><td data-v="{{len .}}">{{.}}</td></tr>{{end}}</tbody></table>`,
}

// TestWrite says what every page has, and that nothing is written of one that fails.
func TestWrite(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	if err := webpage.Write(&page, sorted); err != nil {
		t.Fatal(err)
	}
	if !webpage.IsOurs(page.Bytes()[:512]) || webpage.IsOurs([]byte("<!DOCTYPE html><html>")) {
		t.Error("our pages are not told from others")
	}
	for _, want := range []string{"default-src &#39;none&#39;; style-src &#39;sha256-", "script-src &#39;sha256-", "<title>&lt;b&gt;A table"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page has no %s", want)
		}
	}
	page.Reset()
	if err := webpage.Write(&page, webpage.Page{Body: "{{.Missing}}", Data: 1}); err == nil || page.Len() > 0 {
		t.Errorf("%v, %d bytes", err, page.Len())
	}
}

// TestScriptInBrowser clicks on a header, which sorts by numbers, and filters.
func TestScriptInBrowser(t *testing.T) {
	t.Parallel()
	dom, _ := webpagetest.Look(t, "sorted", func(w io.Writer) error {
		p := sorted
		p.Body = strings.Replace(p.Body, "<table", `<input data-filter="t"><table id="t"`, 1)
		return writeDriven(w, p)
	})
	nine, ten := strings.Index(dom, "&lt;9 B&gt;"), strings.Index(dom, ">10 B<")
	if ten < 0 || nine < ten {
		t.Errorf("ascending: 10 B has the smaller value:\n%s", dom)
	}
	if !strings.Contains(dom, `<tr hidden="">`) {
		t.Errorf("nothing is filtered:\n%s", dom)
	}
}

// writeDriven writes a page that clicks on its first header and filters by "10", with a policy that lets it.
func writeDriven(w io.Writer, p webpage.Page) error {
	var page bytes.Buffer
	if err := webpage.Write(&page, p); err != nil {
		return err
	}
	text := page.String()
	from := strings.Index(text, `<meta http-equiv="Content-Security-Policy"`)
	to := from + strings.Index(text[from:], ">") + 1
	const drive = `<script>document.querySelector("th").click(); const i = document.querySelector("input"); i.value = "10"; i.dispatchEvent(new Event("input"))</script></body>`
	_, err := io.WriteString(w, text[:from]+strings.Replace(text[to:], "</body>", drive, 1))
	return err
}

// TestPolicyInBrowser says that a script which is not ours does not run, even where it comes into a page.
func TestPolicyInBrowser(t *testing.T) {
	t.Parallel()
	dom, said := webpagetest.Refused(t, "policy", func(w io.Writer) error {
		var page bytes.Buffer
		if err := webpage.Write(&page, sorted); err != nil {
			return err
		}
		_, err := io.WriteString(w, strings.Replace(page.String(), "</h1>", `</h1><script>document.title = "theirs"</script><p style="color: red" onclick="x">`, 1))
		return err
	})
	if strings.Contains(dom, "<title>theirs") || !strings.Contains(dom, "sorts") {
		t.Errorf("theirs ran, or ours did not:\n%s", dom)
	}
	if !strings.Contains(said, "Content Security Policy") {
		t.Errorf("the browser says nothing of it: %s", said)
	}
}
