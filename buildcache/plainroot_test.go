package buildcache_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/quicktest"
)

// escaped returns the same JSON with an escape in it, or nil where there is no place for one. With an escape, a root is read by
// encoding/json, whatever it is.
func escaped(raw []byte) []byte {
	const name = `"schemaVersion"`
	if bytes.Count(raw, []byte(name)) != 1 { // it may be one in something else that is escaped, whose bytes are kept
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) == nil && members["schemaVersion"] == nil {
		return nil
	}
	return bytes.Replace(raw, []byte(name), []byte(`"\u0073chemaVersion"`), 1)
}

// samePlain fails the test where a root that is read in one go is not what encoding/json reads.
func samePlain(t *testing.T, raw []byte) {
	t.Helper()
	other := escaped(raw)
	if other == nil {
		return
	}
	root, err := buildcache.ParseRoot(raw)
	want, wantErr := buildcache.ParseRoot(other)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s\nread at once: %v\nby encoding/json: %v", raw, err, wantErr)
	}
	if err == nil && len(want.Extra) == 0 && !reflect.DeepEqual(root, want) {
		t.Errorf("%s\nread at once:\n%#v\nby encoding/json:\n%#v", raw, root, want)
	}
}

// TestPlainRoot reads roots at once as encoding/json reads them, and leaves to it what is written in another way.
func TestPlainRoot(t *testing.T) {
	t.Parallel()
	for _, export := range corpusExports(t) {
		samePlain(t, export.Root)
	}
	step := quicktest.Rounds(3, 1) // from byte to byte, in each form at others
	for f, form := range everyForm() {
		raw := strings.Replace(someRoot(form), `"size":3`, `"size":3,"annotations":{"containerd.io/uncompressed":"sha256:0","b":""}`, 1)
		samePlain(t, []byte(raw))
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(raw), " ", "\t"); err != nil {
			t.Fatal(err)
		}
		samePlain(t, append(indented.Bytes(), " \r\n\t"...))
		for cut := f % step; cut < len(raw); cut += step {
			samePlain(t, []byte(raw[:cut]))
			samePlain(t, []byte(raw[:cut]+raw[cut+1:]))
			for _, more := range []string{",", `"`, "{", "]", "1", "\x00", "é", `\`, "null", `"size":1,`, `"config":{},`} {
				samePlain(t, []byte(raw[:cut]+more+raw[cut:]))
			}
		}
		for _, size := range []string{"0", "00", "01", "-1", "1.0", "1e3", "true", `"1"`, "999999999999999999", "9223372036854775808", strings.Repeat("9", 30)} {
			samePlain(t, []byte(strings.Replace(raw, `"size":`, fmt.Sprintf(`"size":%s,"x":`, size), 1)))
			samePlain(t, []byte(strings.Replace(raw, `"schemaVersion":2`, `"schemaVersion":`+size, 1)))
		}
	}
}

// TestPlainRootCost reads a root of BuildKit's with few allocations: some for each layer, and not those of encoding/json.
func TestPlainRootCost(t *testing.T) { //nolint:paralleltest // it counts the allocations of the process
	raw := []byte(someRoot(buildcache.Artifact))
	read := func(raw []byte) float64 {
		return testing.AllocsPerRun(100, func() {
			if _, err := buildcache.ParseRoot(raw); err != nil {
				t.Fatal(err)
			}
		})
	}
	if plain, other := read(raw), read(escaped(raw)); plain > other/3 {
		t.Errorf("%v allocations, and %v by encoding/json", plain, other)
	}
}

func BenchmarkParseRoot(b *testing.B) {
	exports := corpusExports(b)
	largest := slices.MaxFunc(exports, func(a, b exported) int { return len(a.Root) - len(b.Root) }).Root
	for name, raw := range map[string][]byte{"at once": largest, "by encoding/json": escaped(largest)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := buildcache.ParseRoot(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
