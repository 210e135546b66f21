package buildcache_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// TestConfigBytes holds what we write against what BuildKit wrote.
func TestConfigBytes(t *testing.T) {
	t.Parallel()
	for _, export := range corpusExports(t) {
		config := parseConfig(t, export.Config)
		if len(config.Layers) == 0 || len(config.Records) == 0 {
			t.Errorf("%s: %d layers, %d records", export.Name, len(config.Layers), len(config.Records))
		}
		if got := marshal(t, config); got != string(export.Config) {
			t.Errorf("%s: written as\n%.500s\nBuildKit wrote\n%.500s", export.Name, got, export.Config)
		}
	}
}

func TestConfigMembers(t *testing.T) {
	t.Parallel()
	const raw = `{"layers":[{"blob":"sha256:a","parent":-1},{"blob":"sha256:b"},{"blob":"sha256:c","parent":1,` +
		`"annotations":{"mediaType":"m","diffID":"sha256:d","size":7,"createdAt":"0001-01-01T00:00:00Z"}}],` +
		`"records":[{"layers":[{"layer":0,"createdAt":"2026-11-23T05:35:46.384819028Z"},{"layer":2,"createdAt":"2026-01-02T03:04:05Z"}],` +
		`"chains":[{"layers":[1,0],"createdAt":"0001-01-01T00:00:00Z"}],"digest":"sha256:r",` +
		`"inputs":[[{"selector":"sha256:s","link":1},{"link":0}],[{"link":1}]]},{"digest":"random:x"}]}`
	config := parseConfig(t, []byte(raw))
	if got := marshal(t, config); got != raw {
		t.Errorf("got  %s\nwant %s", got, raw)
	}
	for i, want := range []int{buildcache.NoParent, 0, 1} {
		if got := config.Layers[i].Parent; got != want {
			t.Errorf("layers[%d] has the parent %d, want %d", i, got, want)
		}
	}
	if a := config.Layers[2].Annotations; a.MediaType != "m" || a.DiffID != "sha256:d" || a.Size != 7 || !a.CreatedAt.IsZero() {
		t.Errorf("annotations: %+v", a)
	}
	record := config.Records[0]
	if r := record.Results; len(r) != 2 || r[1].Layer != 2 || !r[1].CreatedAt.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("results: %+v", r)
	}
	if c := record.Chains; len(c) != 1 || !reflect.DeepEqual(c[0].Layers, []int{1, 0}) {
		t.Errorf("chains: %+v", c)
	}
	wantInputs := [][]buildcache.Input{{{Selector: "sha256:s", Link: 1}, {}}, {{Link: 1}}}
	if !reflect.DeepEqual(record.Inputs, wantInputs) {
		t.Errorf("inputs: %+v", record.Inputs)
	}
	if record.Digest != "sha256:r" || config.Records[1].Digest != "random:x" {
		t.Errorf("digests: %q, %q", record.Digest, config.Records[1].Digest)
	}
}

// TestConfigRewritten has JSON that BuildKit reads and would not have written: what is read, and how it is written.
func TestConfigRewritten(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, raw, want string }{
		{"empty", `{}`, `{}`},
		{"null", `null`, `{}`},
		{"empty lists", `{"layers":[],"records":[]}`, `{}`},
		{"null lists", `{"layers":null,"records":null}`, `{}`},
		{"parent 0 is left out", `{"layers":[{"blob":"b","parent":0}]}`, `{"layers":[{"blob":"b"}]}`},
		{"parent -1 is not", `{"layers":[{"parent":-1,"blob":"b"}]}`, `{"layers":[{"blob":"b","parent":-1}]}`},
		{"null parent is 0", `{"layers":[{"blob":"b","parent":null}]}`, `{"layers":[{"blob":"b"}]}`},
		{"null layer and record", `{"layers":[null],"records":[null]}`, `{"layers":[{}],"records":[{}]}`},
		{"null annotations", `{"layers":[{"blob":"b","annotations":null}]}`, `{"layers":[{"blob":"b"}]}`},
		{"link 0 and layer 0 stay", `{"records":[{"layers":[{}],"inputs":[[{}]]}]}`, `{"records":[{"layers":[{"layer":0,"createdAt":"0001-01-01T00:00:00Z"}],"inputs":[[{"link":0}]]}]}`},
		{"empty inputs stay", `{"records":[{"inputs":[[],null]}]}`, `{"records":[{"inputs":[[],null]}]}`},
		{
			"any case", `{"LAYERS":[{"BLOB":"b","Parent":3,"Annotations":{"MEDIATYPE":"m","diffid":"d","Size":1,"createdat":"2026-01-02T03:04:05Z"}}],` +
				`"Records":[{"Layers":[{"Layer":1,"createdat":"2026-01-02T03:04:05Z"}],"CHAINS":[{"LAYERS":[2],"CREATEDAT":"2026-01-02T03:04:05Z"}],"DIGEST":"r","Inputs":[[{"SELECTOR":"s","Link":4}]]}]}`,
			`{"layers":[{"blob":"b","parent":3,"annotations":{"mediaType":"m","diffID":"d","size":1,"createdAt":"2026-01-02T03:04:05Z"}}],` +
				`"records":[{"layers":[{"layer":1,"createdAt":"2026-01-02T03:04:05Z"}],"chains":[{"layers":[2],"createdAt":"2026-01-02T03:04:05Z"}],"digest":"r","inputs":[[{"selector":"s","link":4}]]}]}`,
		},
		{"spaces", " {\n\t\"records\" : [ { \"digest\" : \"r\" } ] } \n", `{"records":[{"digest":"r"}]}`},
		{"other order", `{"records":[{"digest":"r","layers":[{"createdAt":"2026-01-02T03:04:05Z","layer":1}]}],"layers":[{"parent":-1,"blob":"b"}]}`, `{"layers":[{"blob":"b","parent":-1}],"records":[{"layers":[{"layer":1,"createdAt":"2026-01-02T03:04:05Z"}],"digest":"r"}]}`},
		{"last of two wins", `{"records":[{"digest":"a","digest":"b"}]}`, `{"records":[{"digest":"b"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := marshal(t, parseConfig(t, []byte(tt.raw))); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := marshal(t, parseConfig(t, []byte(tt.want))); got != tt.want {
				t.Errorf("written again as %s\nwant             %s", got, tt.want)
			}
		})
	}
}

// TestTimeKeepsItsText has spellings of times that Go would write otherwise.
func TestTimeKeepsItsText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`"2026-11-23T05:35:46.384819028Z"`, `"2026-11-23T05:35:46.380000000Z"`, `"2026-11-23T05:35:46.0+00:00"`,
		`"2026-11-23T05:35:46+02:00"`, `"0001-01-01T00:00:00Z"`, `null`,
	} {
		raw := `{"records":[{"layers":[{"layer":0,"createdAt":` + text + `}],"chains":[{"layers":[0],"createdAt":` + text + `}]}]}`
		config := parseConfig(t, []byte(raw))
		if got := marshal(t, config); got != raw {
			t.Errorf("got  %s\nwant %s", got, raw)
		}
	}
	now := buildcache.Time{Time: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)}
	if got := marshal(t, now); got != `"2026-01-02T03:04:05.0000006Z"` {
		t.Errorf("a time of our own is written as %s", got)
	}
}

// TestConfigEscapes checks that strings are escaped as BuildKit escapes them, in what is known and in what is not.
func TestConfigEscapes(t *testing.T) {
	t.Parallel()
	const plain = "<a href=\"x\">&\u2028\u00e9\u65e5"
	const escaped = `\u003ca href=\"x\"\u003e\u0026\u2028` + "\u00e9\u65e5"
	raw := `{"records":[{"digest":"` + escaped + `","inputs":[[{"selector":"` + escaped + `","link":0,"x":"` + escaped + `"}]]}],"` + escaped + `":1}`
	config := parseConfig(t, []byte(raw))
	if got := config.Records[0].Inputs[0][0].Selector; got != plain {
		t.Errorf("selector read as %q", got)
	}
	if got := marshal(t, config); got != raw {
		t.Errorf("got  %s\nwant %s", got, raw)
	}
}

// TestConfigKeepsUnknownMembers has one member that means nothing here in every kind of object.
func TestConfigKeepsUnknownMembers(t *testing.T) {
	t.Parallel()
	const raw = `{"layers":[{"blob":"b","parent":-1,"annotations":{"createdAt":"0001-01-01T00:00:00Z","x-annotations":1.0},"x-layer":[{}]}],` +
		`"records":[{"layers":[{"layer":0,"createdAt":"2026-01-02T03:04:05Z","x-result":"r"}],` +
		`"chains":[{"layers":[0],"createdAt":"2026-01-02T03:04:05Z","x-chain":true}],"digest":"d",` +
		`"inputs":[[{"link":0,"x-input":123456789012345678901234567890}]],"x-record":{"b":1,"a":2}}],"x-config":null,"x-again":[]}`
	config := parseConfig(t, []byte(raw))
	if got := marshal(t, config); got != raw {
		t.Errorf("got  %s\nwant %s", got, raw)
	}
	root := parseRoot(t, []byte(someRoot(buildcache.Artifact)))
	blob := buildcache.Blob{Digest: "n", DiffID: "f", Size: 9, Compression: buildcache.Zstd}
	_, replaced := buildcache.ReplaceLayers(root, config, map[digest.Digest]buildcache.Blob{"b": blob})
	want := strings.Replace(raw, `"blob":"b"`, `"blob":"n"`, 1)
	want = strings.Replace(want, `"annotations":{`, `"annotations":{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","diffID":"f","size":9,`, 1)
	if got := marshal(t, replaced); got != want {
		t.Errorf("after ReplaceLayers\ngot  %s\nwant %s", got, want)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		``, `{`, `[]`, `"x"`, `{} {}`, `{"layers":{}}`, `{"layers":[1]}`, `{"layers":[{"blob":1}]}`, `{"layers":[{"parent":"0"}]}`,
		`{"layers":[{"parent":1.5}]}`, `{"layers":[{"parent":99999999999999999999}]}`, `{"layers":[{"annotations":"x"}]}`,
		`{"layers":[{"annotations":{"size":"x"}}]}`, `{"layers":[{"annotations":{"createdAt":"yesterday"}}]}`,
		`{"records":[{"layers":{}}]}`, `{"records":[{"layers":[{"layer":"0"}]}]}`, `{"records":[{"layers":[{"layer":0,"createdAt":""}]}]}`,
		`{"records":[{"layers":[{"layer":0,"createdAt":0}]}]}`, `{"records":[{"chains":[{"layers":[true]}]}]}`,
		`{"records":[{"chains":[{"layers":[0],"createdAt":"x"}]}]}`, `{"records":[{"digest":{}}]}`, `{"records":[{"inputs":[{}]}]}`,
		`{"records":[{"inputs":[[{"link":"0"}]]}]}`, `{"records":[{"inputs":[[{"selector":0}]]}]}`,
		"\x28\xb5\x2f\xfd",
		strings.Repeat(`{"x":`, 20000) + `1` + strings.Repeat(`}`, 20000),
	} {
		if config, err := buildcache.ParseConfig([]byte(raw)); err == nil {
			t.Errorf("%.60s was read as %+v", raw, config)
		}
	}
}

func TestParseConfigSize(t *testing.T) {
	t.Parallel()
	fits := `{}` + strings.Repeat(" ", buildcache.MaxConfig-2)
	if _, err := buildcache.ParseConfig([]byte(fits)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	_, err := buildcache.ParseConfig([]byte(fits + " "))
	var size *buildcache.SizeError
	if !errors.As(err, &size) || size.Size != buildcache.MaxConfig+1 {
		t.Fatalf("above the limit: %v", err)
	}
	if want := fmt.Sprintf("cache config has %d bytes, the limit is %d", buildcache.MaxConfig+1, buildcache.MaxConfig); err.Error() != want {
		t.Errorf("the error is %q", err)
	}
}
