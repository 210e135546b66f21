package llb_test

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ocicache/ocicache/explain/llb"
)

// TestNewerMembers says that an operation with members which nobody here knows has no key.
func TestNewerMembers(t *testing.T) {
	t.Parallel()
	for text, unknown := range map[string]string{
		`{"Op":{"exec":{"meta":{"args":["true"],"cwd":"/"},"mounts":[{"dest":"/"}]}},"constraints":{}}`:                  "",
		`{"Op":{"exec":{"meta":{"args":["true"],"cwd":"/","new":1},"mounts":[{"dest":"/"}]}}}`:                           "exec",
		`{"Op":{"exec":{"meta":{"args":["true"],"cwd":"/"},"mounts":[{"dest":"/","new":1}]}}}`:                           "exec",
		`{"Op":{"file":{"actions":[{"Action":{"rm":{"path":"/a"}},"input":0,"secondaryInput":-1,"output":0}]}}}`:         "",
		`{"Op":{"file":{"actions":[{"Action":{"rm":{"path":"/a","new":1}},"input":0}]}}}`:                                "file",
		`{"Op":{"file":{"actions":[{"Action":{"new":{"path":"/a"}},"input":0}]}}}`:                                       "file",
		`{"Op":{"file":{"actions":[{"Action":{"mkdir":{"path":"/a","owner":{"user":{"User":{"new":1}}}}}}],"x":false}}}`: "file",
		`{"Op":{"merge":{"inputs":[]}},"new":true}`:                                                                      "merge",
		`{"Op":{"new":{}}}`: "new",
		`{"Op":{}}`:         "",
	} {
		var op llb.Op
		if err := json.Unmarshal([]byte(text), &op); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if op.Unknown != unknown {
			t.Errorf("%s: unknown is %q, want %q", text, op.Unknown, unknown)
		}
		if _, err := op.CacheMap(1, llb.Platform{}, llb.FormV17); unknown != "" && err == nil {
			t.Errorf("%s has a key", text)
		}
	}
}

// TestNewerFields says the same of protobuf.
func TestNewerFields(t *testing.T) {
	t.Parallel()
	message := func(number protowire.Number, inner []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), inner)
	}
	meta := message(1, message(1, []byte("true")))
	for want, exec := range map[string][]byte{"": meta, "exec": append(meta, message(99, []byte("new"))...)} {
		d, err := llb.ParseDefinition(message(1, message(2, exec)))
		if err != nil {
			t.Fatal(err)
		}
		if op := d.Ops[0].Op; op.Unknown != want || op.Kind() != "exec" {
			t.Errorf("unknown is %q of a %s, want %q", op.Unknown, op.Kind(), want)
		}
	}
}
