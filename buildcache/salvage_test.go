package buildcache_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
)

// TestSalvageIndex goes on after what is odd in an index.json, keeps all that can be read, and says what can't.
func TestSalvageIndex(t *testing.T) {
	t.Parallel()
	const a = `"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`
	const b = `{"mediaType":"x","digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","size":4,"annotations":{"k":"v"},"mine":[1]}`
	list := func(entries string) string { return `{"schemaVersion":2,"manifests":[` + entries + `]}` }
	for _, tt := range []struct {
		name, text, want string
		changed          []string
		torn             string
	}{
		{"entry that is none", list(`"x",` + b), list(b), []string{`manifests[0] is no entry with a digest, and is left out: "x"`}, ""},
		{"null and a number", list(`null,7,` + b), list(b), []string{`manifests[0] is no entry with a digest, and is left out: null`, `manifests[1] is no entry with a digest, and is left out: 7`}, ""},
		{"no digest", list(`{"digest":5},` + b), list(b), []string{`manifests[0] is no entry with a digest, and is left out: {"digest":5}`}, ""},
		{
			"size", list(`{"mediaType":"x",` + a + `,"size":"3","mine":1},` + b), list(`{"mediaType":"x",` + a + `,"size":3,"mine":1},` + b),
			[]string{`manifests[0]: "size" is "3", and is taken for 3`},
			"",
		},
		{
			"size that is none", list(`{` + a + `,"size":{}},` + b), list(`{` + a + `,"size":0},` + b),
			[]string{`manifests[0]: "size" can't be read, and is left out: {}`},
			"",
		},
		{
			"annotation", list(`{` + a + `,"size":1,"annotations":{"k":5,"l":"m"}}`), list(`{` + a + `,"size":1,"annotations":{"k":"5","l":"m"}}`),
			[]string{`manifests[0]: "annotations" is {"k":5,"l":"m"}, and is taken for {"k":"5","l":"m"}`},
			"",
		},
		{
			"urls", list(`{` + a + `,"size":1,"urls":"http://x"}`), list(`{` + a + `,"size":1,"urls":["http://x"]}`),
			[]string{`manifests[0]: "urls" is "http://x", and is taken for ["http://x"]`},
			"",
		},
		{
			"platform", list(`{` + a + `,"size":1,"platform":"linux/arm64"}`),
			list(`{` + a + `,"size":1,"platform":{"architecture":"arm64","os":"linux"}}`),
			[]string{`manifests[0]: "platform" is "linux/arm64", and is taken for {"architecture":"arm64","os":"linux"}`},
			"",
		},
		{
			"platform that is none", list(`{` + a + `,"size":1,"platform":[]}`), list(`{` + a + `,"size":1}`),
			[]string{`manifests[0]: "platform" can't be read, and is left out: []`},
			"",
		},
		{
			"of the index itself", `{"schemaVersion":"2","mine":{"x":1},"annotations":{"k":7},"manifests":[` + b + `],"subject":5,"more":null}`,
			`{"schemaVersion":2,"manifests":[` + b + `],"mine":{"x":1},"annotations":{"k":"7"},"more":null}`,
			[]string{
				`"schemaVersion" is "2", and is taken for 2`, `"annotations" is {"k":7}, and is taken for {"k":"7"}`,
				`"subject" can't be read, and is left out: 5`,
			},
			"",
		},
		{"two lists", `{"manifests":[` + b + `],"manifests":[]}`, list(b), nil, ""},
		{"a list and null", `{"manifests":[` + b + `],"manifests":null}`, list(b), nil, ""},
		{"no list", `{"manifests":{"x":1}}`, list(""), []string{`"manifests" is no list, and is left out: {"x":1}`}, ""},
		{"torn in an entry", `{"annotations":{"k":"v"},"manifests":[` + b + `,{"digest":`, `{"schemaVersion":2,"manifests":[` + b + `],"annotations":{"k":"v"}}`, nil, `{"digest":`},
		{"torn behind the list", `{"manifests":[` + b + `],"annotations":{"k`, list(b), []string{`"annotations" is torn, and is left out`}, ""},
		{"more behind it", list(b) + `,{"digest":"x"}]}`, list(b), nil, ""},
		{"no object", `[` + b + `]`, list(""), nil, `[` + b + `]`},
	} {
		if _, err := buildcache.ParseIndex([]byte(tt.text)); err == nil {
			t.Errorf("%s: nothing is wrong with it", tt.name)
		}
		index, torn, changed := buildcache.SalvageIndex([]byte(tt.text))
		got, err := json.Marshal(index)
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Replace(string(got), `"mediaType":"application/vnd.oci.image.index.v1+json",`, "", 1); text != tt.want {
			t.Errorf("%s: got\n%s, want\n%s", tt.name, text, tt.want)
		}
		if !slices.Equal(changed, tt.changed) || string(torn) != tt.torn {
			t.Errorf("%s: changed %q, torn %q, want %q, %q", tt.name, changed, torn, tt.changed, tt.torn)
		}
		if _, err := buildcache.ParseIndex(got); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
