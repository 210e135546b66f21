package inspect_test

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/internal/webpage/webpagetest"
	"github.com/ocicache/ocicache/layout"
)

// pageTime is some days after the caches in testdata were made.
var pageTime = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// injections are what a hostile cache says where a page has text, attributes and titles.
var injections = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</title></style></svg><script>alert(1)</script>`, `{{.Now}}`,
}

// hostile is a cache whose every text is one.
func hostile(text string) inspect.Detailed {
	at := digest.Digest("sha256:" + text)
	config := &buildcache.Config{
		Layers: []buildcache.Layer{{Blob: at, Parent: buildcache.NoParent}, {Blob: at, Parent: 2}, {Blob: at, Parent: 1}, {Blob: at, Parent: 99}},
		Records: []buildcache.Record{
			{Digest: at, Results: []buildcache.Result{{Layer: 0}, {Layer: -7}, {Layer: 99}}},
			{Digest: at, Inputs: [][]buildcache.Input{{{Link: 0, Selector: text}, {Link: 77}, {Link: -3}}}, Chains: []buildcache.Chain{{Layers: []int{0, 99, -1}}}},
			{Digest: at, Inputs: [][]buildcache.Input{{{Link: 2}}}},
			{Digest: at, Inputs: [][]buildcache.Input{{{Link: 2}}}},
		},
	}
	s := &inspect.Summary{
		Tag: text, Digest: at, Form: buildcache.Form(text), MediaType: text, Config: inspect.Blob{Digest: at, Size: -1}, Records: len(config.Records),
		Limits: []string{text}, Totals: inspect.Totals{Layers: 4, ByCompression: map[buildcache.Compression]int64{buildcache.Compression(text): 1}},
	}
	for i, layer := range config.Layers {
		s.Layers = append(s.Layers, inspect.Layer{Index: i, Parent: layer.Parent, Digest: at, DiffID: at, MediaType: text, Compression: buildcache.Compression(text), Size: -1})
	}
	s.Layers = append(s.Layers, inspect.Layer{Index: -1, Parent: -1, Digest: at, MediaType: text, Size: 1 << 62})
	name := inspect.RecordName{Where: text + ":1", Text: text, How: text}
	return inspect.Detailed{Summary: s, Config: config, Names: []inspect.RecordName{name, name, {}, name}, Warnings: []string{text}}
}

// write returns a page, and fails where it needs more than itself.
func write(t *testing.T, html func(io.Writer) error) string {
	t.Helper()
	var page bytes.Buffer
	if err := html(&page); err != nil {
		t.Fatal(err)
	}
	parts := []string{page.String()}
	if edge := quicktest.Rounds(1<<19, 1<<30); page.Len() > 2*edge { // where all rows are there, they are alike
		parts = []string{parts[0][:edge], parts[0][page.Len()-edge:]}
	}
	for _, part := range parts {
		if found := webpagetest.External(part); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
	return page.String()
}

// skeleton matches the tags and names of attributes of a page, which is all that a hostile cache could add.
var skeleton = regexp.MustCompile(`</?[a-z0-9]+(?:\s+[a-z-]+(?:="[^"<>]*")?)*\s*/?>`)

// shape returns the elements of a page, without what their attributes say.
func shape(page string) string {
	attribute := regexp.MustCompile(`="[^"]*"`)
	return attribute.ReplaceAllString(strings.Join(skeleton.FindAllString(page, -1), "\n"), "")
}

// TestHostilePage says that nothing that caches say becomes an element, an attribute or a script: a page has the same ones whatever
// they say.
func TestHostilePage(t *testing.T) {
	t.Parallel()
	for _, text := range append(injections, "harmless") {
		if _, script := pageOf(t, text); strings.Contains(script, "alert") {
			t.Errorf("%q: in a script: %s", text, script)
		}
	}
	want, _ := pageOf(t, "harmless")
	for _, text := range injections {
		if got, _ := pageOf(t, text); got != want {
			t.Errorf("%q: the page has other elements", text)
		}
	}
}

// pageOf returns the elements of both pages of caches that say a text, and their scripts.
func pageOf(t *testing.T, text string) (elements, script string) {
	t.Helper()
	page := inspect.NewPage(text, pageTime)
	page.Warning = text
	page.Add(hostile(text))
	page.Add(hostile(text))
	at := buildcache.LayerAt{Blob: digest.Digest(text), DiffID: digest.Digest(text), Below: digest.Digest(text)}
	difference := &buildcache.Difference{
		Layers: buildcache.LayerDifference{Gone: []buildcache.LayerAt{at}, New: []buildcache.LayerAt{at}, Moved: []buildcache.LayerChange{{A: at, B: at}}},
		Records: buildcache.RecordDifference{
			Gone: []buildcache.RecordAt{{Digest: at.Blob}}, Changed: []buildcache.RecordChange{{B: buildcache.RecordAt{Digest: at.Blob}, Result: buildcache.ResultChange(text)}},
		},
	}
	side := inspect.Side{Name: text, Digest: digest.Digest(text), Form: buildcache.Form(text), Names: []inspect.RecordName{{Where: text, Text: text, How: text}}}
	html := write(t, page.WriteHTML) + write(t, inspect.Comparison{A: side, B: side, Difference: difference, Warnings: []string{text}}.WriteHTML)
	for _, found := range regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(html, -1) {
		script += found[1]
	}
	if strings.Count(html, "<script>") != 2 {
		t.Errorf("%q: %d scripts, want one a page", text, strings.Count(html, "<script>"))
	}
	return shape(html), script
}

// TestEmptyPage has nothing to show, and says so.
func TestEmptyPage(t *testing.T) {
	t.Parallel()
	if page := write(t, inspect.NewPage("here", pageTime).WriteHTML); !strings.Contains(page, "There are no caches.") {
		t.Errorf("got %s", page)
	}
	empty := inspect.NewPage("here", pageTime)
	empty.Add(inspect.Detailed{Summary: &inspect.Summary{}, Config: &buildcache.Config{}})
	if page := write(t, empty.WriteHTML); strings.Count(page, "There are none.") != 2 {
		t.Errorf("got %s", page)
	}
	difference, err := buildcache.Diff(large(0), large(0))
	if err != nil {
		t.Fatal(err)
	}
	if page := write(t, inspect.Comparison{Difference: difference}.WriteHTML); strings.Count(page, "There is no difference.") != 2 {
		t.Errorf("got %s", page)
	}
}

// large returns a cache of so many records, each with a result of its own, on up to three others.
func large(records int) buildcache.Cache {
	config := &buildcache.Config{}
	root := &buildcache.Root{Form: buildcache.OCIIndex}
	for i := range records {
		blob := digest.FromString(fmt.Sprint("layer ", i))
		config.Layers = append(config.Layers, buildcache.Layer{Blob: blob, Parent: (i+1)/2 - 1})
		root.Layers = append(root.Layers, buildcache.Descriptor{MediaType: buildcache.MediaTypeConfig, Digest: blob, Size: int64(i) * 1000})
		record := buildcache.Record{Digest: digest.FromString(fmt.Sprint("record ", i)), Results: []buildcache.Result{{Layer: i}}}
		for input := i / 7; input < min(i, i/7+3); input++ {
			record.Inputs = append(record.Inputs, []buildcache.Input{{Link: input}})
		}
		config.Records = append(config.Records, record)
	}
	return buildcache.Cache{Root: root, Config: config}
}

// detailed sums up a cache that lies nowhere.
func detailed(cache buildcache.Cache) inspect.Detailed {
	s := &inspect.Summary{Tag: "large", Records: len(cache.Config.Records)}
	for i, layer := range cache.Config.Layers {
		s.Layers = append(s.Layers, inspect.Layer{Index: i, Parent: layer.Parent, Digest: layer.Blob, Size: int64(i) * 1000, Results: 1})
	}
	return inspect.Detailed{Summary: s, Config: cache.Config}
}

// TestLargePage says that a page is bounded, however large caches are and however many there are, and says what it leaves out.
func TestLargePage(t *testing.T) {
	t.Parallel()
	page := inspect.NewPage("here", pageTime)
	for _, records := range []int{4000, 4000, 1} {
		page.Add(detailed(large(records)))
	}
	html := write(t, page.WriteHTML)
	if rows, dots := strings.Count(html, "<tr id="), strings.Count(html, "<circle "); rows != 10_000 || dots != 5000 {
		t.Errorf("%d rows and %d dots", rows, dots)
	}
	for _, want := range []string{"3,000 more layers of", "3,000 more records of", "1 more layer of", "1 more record of"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if len(html) > 6<<20 {
		t.Errorf("the page has %d bytes", len(html))
	}
}

// TestDeepPage has a chain of layers and records that no recursion would come through.
func TestDeepPage(t *testing.T) {
	t.Parallel()
	cache := large(quicktest.Rounds(20_000, 100_000))
	for i := range cache.Config.Layers {
		cache.Config.Layers[i].Parent = i - 1
		if cache.Config.Records[i].Inputs = nil; i > 0 {
			cache.Config.Records[i].Inputs = [][]buildcache.Input{{{Link: i - 1}}}
		}
	}
	page := inspect.NewPage("here", pageTime)
	page.Add(detailed(cache))
	if html := write(t, page.WriteHTML); strings.Count(html, "<circle ") != 5000 {
		t.Errorf("%d dots", strings.Count(html, "<circle "))
	}
}

// corpusPage returns the page of a place with caches, and how many layers and records it lists.
func corpusPage(t *testing.T, name string) (page *inspect.Page, rows int) {
	t.Helper()
	dir, err := layout.Open("../testdata/caches/"+name, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := layout.Survey(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	page = inspect.NewPage("testdata/caches/"+name, pageTime)
	for _, entry := range entries {
		d, err := inspect.Detail(t.Context(), dir, entry)
		if err != nil {
			t.Fatal(err)
		}
		page.Add(d)
		rows += len(d.Layers) + d.Records
	}
	return page, rows
}

// TestPagesInBrowser looks at pages in a browser, which has no network, and keeps what they look like.
func TestPagesInBrowser(t *testing.T) {
	t.Parallel()
	pages, rows := map[string]*inspect.Page{}, map[string]int{"hostile": len(injections) * 8, "large": 1000}
	pages["inspect"], rows["inspect"] = corpusPage(t, "gzip-with-estargz-leak")
	pages["several"], rows["several"] = corpusPage(t, "multi-tag")
	pages["hostile"], pages["large"] = inspect.NewPage("hostile", pageTime), inspect.NewPage("large", pageTime)
	for _, text := range injections {
		pages["hostile"].Add(hostile(text))
	}
	if os.Getenv("E2E") == "required" { // it takes a while
		rows["large"] = 10_000
	}
	pages["large"].Add(detailed(large(rows["large"] / 2)))
	for name, page := range pages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dom, picture := webpagetest.Look(t, name, page.WriteHTML)
			if got := strings.Count(dom, "<tr id="); got != rows[name] {
				t.Errorf("%d rows, want %d", got, rows[name])
			}
			if !strings.Contains(dom, `class="n sorts"`) {
				t.Error("the script did not run")
			}
			if strings.Contains(dom, "<img") || strings.Contains(dom, "onmouseover=\"") {
				t.Error("there is an element of a cache's")
			}
			if name != "hostile" && webpagetest.Count(picture, color.RGBA{R: 0x2a, G: 0x6f, B: 0xdb, A: 0xff}) < 500 {
				t.Error("the records are not drawn")
			}
		})
	}
}

// TestComparisonInBrowser looks at the page of a difference.
func TestComparisonInBrowser(t *testing.T) {
	t.Parallel()
	var caches [2]buildcache.Cache
	var sides [2]inspect.Side
	for i, name := range []string{"artifact-gzip", "merge-small2-fresh"} {
		dir, err := layout.Open("../testdata/caches/"+name, layout.Options{})
		if err != nil {
			t.Fatal(err)
		}
		entry, err := layout.OneCache(t.Context(), dir, "")
		if err != nil {
			t.Fatal(err)
		}
		cache, err := layout.Load(t.Context(), dir, entry)
		if err != nil {
			t.Fatal(err)
		}
		caches[i] = buildcache.Cache{Root: cache.Root, Config: cache.Config}
		sides[i] = inspect.Side{Name: name, Digest: entry.Descriptor.Digest, Form: cache.Root.Form}
	}
	difference, err := buildcache.Diff(caches[0], caches[1])
	if err != nil {
		t.Fatal(err)
	}
	page := inspect.Comparison{A: sides[0], B: sides[1], Difference: difference}
	dom, _ := webpagetest.Look(t, "diff", page.WriteHTML)
	for id, want := range map[string]int{
		"layers-gone": len(difference.Layers.Gone), "layers-new": len(difference.Layers.New), "records-gone": len(difference.Records.Gone),
		"records-new": len(difference.Records.New), "records-changed": len(difference.Records.Changed),
	} {
		if !strings.Contains(dom, fmt.Sprintf(`<b id="%s">%d</b>`, id, want)) {
			t.Errorf("the page does not say that %s are %d", id, want)
		}
	}
}
