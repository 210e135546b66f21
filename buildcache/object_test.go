package buildcache_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/quicktest"
)

// Texts of many tiny values are refused before they fill the memory, and what has as many as may be is not.
func TestTooManyValues(t *testing.T) {
	t.Parallel()
	config := func(raw []byte) error { _, err := buildcache.ParseConfig(raw); return err }
	index := func(raw []byte) error { _, err := buildcache.ParseIndex(raw); return err }
	root := func(raw []byte) error { _, err := buildcache.ParseRoot(raw); return err }
	image := func(raw []byte) error { _, err := buildcache.ParseImage(raw); return err }
	list := `{"mediaType":"` + buildcache.MediaTypeOCIIndex + `","manifests":[`
	manifest := `{"mediaType":"` + buildcache.MediaTypeOCIManifest + `","layers":[`
	const many, few = 1 << 20, 1 << 17
	for _, test := range []struct {
		name             string
		parse            func([]byte) error
		head, item, tail string
		limit, each      int
	}{
		{"records", config, `{"records":[`, `{}`, `]}`, many, 2},
		{"nulls", config, `{"layers":[`, `null`, `]}`, many, 2},
		{"inputs", config, `{"records":[{"inputs":[`, `[]`, `]}]}`, many, 2},
		{"indexes", config, `{"records":[{"chains":[{"layers":[`, `0`, `]}]}]}`, many, 1},
		{"members", config, `{`, `"":0`, `}`, many, 1},
		{"entries", index, `{"manifests":[`, `{}`, `]}`, few, 2},
		{"entries of a list", root, list, `{}`, `]}`, few, 2},
		{"layers", root, manifest, `{}`, `]}`, few, 2},
		{"layers of an image", image, manifest, `{}`, `]}`, few, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text := func(n int) []byte {
				return []byte(test.head + strings.Repeat(test.item+",", n-1) + test.item + test.tail)
			}
			var values *buildcache.ValuesError
			// Those of a config are the same count, but for the limit, and many to read.
			if test.limit == few || test.item == "0" || quicktest.Rounds(0, 1) > 0 {
				if err := test.parse(text(test.limit/test.each - 20)); errors.As(err, &values) {
					t.Errorf("some less than the limit: %v", err)
				}
			}
			err := test.parse(text(test.limit/test.each + 1))
			if !errors.As(err, &values) || values.Limit != test.limit || values.Count <= test.limit || values.Count > test.limit+20 {
				t.Errorf("some more than the limit: %v", err)
			}
		})
	}
	// What stands in strings is no value, quotes and brackets among it.
	if err := index([]byte(`{"x":"` + strings.Repeat(`,\"{[`, few) + `"}`)); err != nil {
		t.Errorf("a long string: %v", err)
	}
}

// Objects are read as encoding/json reads them, whatever their members look like.
func TestOddObjects(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, raw, want string }{
		{"space everywhere", "\t{ \"blob\" : \"a\" ,\r\n \"x\" : [ 1 , 2 ] }\n", `{"blob":"a","x":[1,2]}`},
		{"empty", "{ }", `{}`},
		{"null", " null ", `{}`},
		{"brackets in strings", `{"x":"}]{[,:\"","blob":"\\"}`, `{"blob":"\\","x":"}]{[,:\""}`},
		{"escaped names", `{"\u0062lob":"a","\u0078\"":{}}`, `{"blob":"a","x\"":{}}`},
		{"other case", `{"BLOB":"a"}`, `{"blob":"a"}`},
		{"twice", `{"blob":"a","blob":"b"}`, `{"blob":"b"}`},
		{"literals at the end", `{"a":1.5e3,"b":true,"c":false,"d":null}`, `{"a":1.5e3,"b":true,"c":false,"d":null}`},
		{"nested", `{"a":{"b":[{"c":"}"}]},"parent":-1}`, `{"parent":-1,"a":{"b":[{"c":"}"}]}}`},
	} {
		var layer buildcache.Layer
		if err := json.Unmarshal([]byte(test.raw), &layer); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got, err := json.Marshal(layer); err != nil || string(got) != test.want {
			t.Errorf("%s: %s (%v), want %s", test.name, got, err, test.want)
		}
	}
	// Called without encoding/json around it, it says that something is no JSON.
	for _, raw := range []string{``, `{`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":"\`, `{"a":[1}`, `{,}`, `{:1}`, `{"a":}`, `{a:1}`, `[]`, `"x"`, `7`} {
		if err := new(buildcache.Layer).UnmarshalJSON([]byte(raw)); err == nil {
			t.Errorf("%q: no error", raw)
		}
	}
}

// TestWrittenAsByJSON writes objects in objects as encoding/json writes structs with their members, whatever texts and lists hold.
func TestWrittenAsByJSON(t *testing.T) {
	t.Parallel()
	type input struct {
		Selector string `json:"selector,omitempty"`
		Link     int    `json:"link"`
	}
	type chain struct {
		Layers    []int     `json:"layers"`
		CreatedAt time.Time `json:"createdAt"`
	}
	type result struct {
		Layer     int       `json:"layer"`
		CreatedAt time.Time `json:"createdAt"`
	}
	type record struct {
		Results []result  `json:"layers,omitempty"`
		Chains  []chain   `json:"chains,omitempty"`
		Digest  string    `json:"digest,omitempty"`
		Inputs  [][]input `json:"inputs,omitempty"`
	}
	type annotations struct {
		MediaType string    `json:"mediaType,omitempty"`
		DiffID    string    `json:"diffID,omitempty"`
		Size      int64     `json:"size,omitempty"`
		CreatedAt time.Time `json:"createdAt"`
	}
	type layer struct {
		Blob        string       `json:"blob,omitempty"`
		Parent      int          `json:"parent,omitempty"`
		Annotations *annotations `json:"annotations,omitempty"`
	}
	type config struct {
		Layers  []layer  `json:"layers,omitempty"`
		Records []record `json:"records,omitempty"`
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, text := range []string{"plain", "", `"\`, "<a&b>", "ü\u2028\u2029", "\x00\n\x1f\x7f", "\xff\xc3", "\U0001f40b"} {
		want, err := json.Marshal(config{
			[]layer{{}, {text, -1, &annotations{text, text, 1 << 40, at}}},
			[]record{
				{Digest: text, Inputs: [][]input{nil, {}, {{text, 1}, {"x", 2}}}},
				{[]result{{1, at}, {}}, []chain{{nil, at}, {[]int{}, at}, {[]int{1, 2}, at}}, text, [][]input{}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		d, when := digest.Digest(text), buildcache.Time{Time: at}
		c := buildcache.Config{
			Layers: []buildcache.Layer{{}, {Blob: d, Parent: -1, Annotations: &buildcache.LayerAnnotations{
				MediaType: text, DiffID: d, Size: 1 << 40, CreatedAt: when,
			}}},
			Records: []buildcache.Record{
				{Digest: d, Inputs: [][]buildcache.Input{nil, {}, {{Selector: text, Link: 1}, {Selector: "x", Link: 2}}}},
				{
					Results: []buildcache.Result{{Layer: 1, CreatedAt: when}, {}},
					Chains:  []buildcache.Chain{{CreatedAt: when}, {Layers: []int{}, CreatedAt: when}, {Layers: []int{1, 2}, CreatedAt: when}},
					Digest:  d, Inputs: [][]buildcache.Input{},
				},
			},
		}
		if got, err := c.MarshalJSON(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %v\n%s\n%s", text, err, got, want)
		}
	}
	late := &buildcache.Config{Records: []buildcache.Record{{Results: []buildcache.Result{{CreatedAt: buildcache.Time{Time: at.AddDate(9000, 0, 0)}}}}}}
	if got, err := late.MarshalJSON(); err == nil {
		t.Errorf("a year of five digits became %s", got)
	}
}
