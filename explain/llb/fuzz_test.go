package llb_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/llb"
)

// FuzzParseDefinition says that no bytes harm who reads LLB, and that what was read has keys or is unknown.
func FuzzParseDefinition(f *testing.F) {
	dir := explaintest.Unpack(f, "forms/why.llb", "builds/8-llb/context/", "builds/8-build/def.llb")
	for _, name := range []string{"forms/why.llb", "builds/8-llb/context/def.llb", "builds/8-build/def.llb"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := llb.ParseDefinition(data)
		if err != nil {
			return
		}
		for _, v := range d.Ops {
			useOp(t, v.Op, len(v.Inputs))
		}
	})
}

// FuzzOp says the same of operations in JSON.
func FuzzOp(f *testing.F) {
	f.Add([]byte(`{"Op":{"exec":{"meta":{"args":["a"],"extraHosts":[{"Host":"h"}]},"mounts":[{"dest":"/"}]}},"platform":{"OS":"linux"}}`), 1)
	f.Add([]byte(`{"Op":{"file":{"actions":[{"input":-1,"secondaryInput":0,"output":0,"Action":{"copy":{"src":"/a*"}}}]}}}`), 1)
	f.Add([]byte(`{"Op":{"diff":{"lower":{},"upper":{"input":-1}}}}`), 1)
	f.Add([]byte(`{"Op":{"build":{"inputs":{"a":null}}}}`), 1)
	f.Fuzz(func(t *testing.T, data []byte, inputs int) {
		var op llb.Op
		if json.Unmarshal(data, &op) == nil {
			useOp(t, &op, inputs%8)
		}
	})
}

func useOp(t *testing.T, op *llb.Op, inputs int) {
	t.Helper()
	op.Keys(llb.Platform{OS: "linux"}, llb.Pin{Commit: "c"})
	for _, form := range llb.Forms() {
		m, err := op.CacheMap(inputs, llb.Platform{OS: "linux", Architecture: "amd64"}, form)
		if err != nil {
			if !errors.Is(err, llb.ErrUnknown) {
				t.Errorf("an error that says nothing of an unknown operation: %v", err)
			}
			continue
		}
		if m.Key.Text == "" || m.Key.Record(0).Validate() != nil {
			t.Errorf("key %+v", m.Key)
		}
	}
}
