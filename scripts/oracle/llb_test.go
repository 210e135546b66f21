package oracle

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ocicache/ocicache/explain/llb"
)

// TestRandomOps makes operations at random, all fields of them, and wants the JSON that BuildKit writes, from its protobuf
// as from its JSON. Cache keys are hashes of such JSON.
func TestRandomOps(t *testing.T) {
	const seed, most, enough = 1, 100000, 10 * time.Second
	random := rand.New(rand.NewPCG(seed, seed))
	n := 0
	for start := time.Now(); n < most && time.Since(start) < enough; n++ {
		op := randomOp(random)
		raw, err := op.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		definition, err := (&pb.Definition{Def: [][]byte{raw}}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := llb.ParseDefinition(definition)
		if err != nil {
			t.Fatalf("%v\n%s", err, marshal(t, op))
		}
		op.Inputs, op.Constraints = nil, nil
		if want, got := marshal(t, op), marshal(t, parsed.Ops[0].Op); !bytes.Equal(got, want) {
			t.Fatalf("from protobuf\n%s, want\n%s", got, want)
		}
		compareSymlinks(t, op, parsed.Ops[0].Op)
		var fromJSON llb.Op
		if err := json.Unmarshal(marshal(t, op), &fromJSON); err != nil {
			t.Fatal(err)
		}
		if want, got := marshal(t, op), marshal(t, &fromJSON); !bytes.Equal(got, want) {
			t.Fatalf("from JSON\n%s, want\n%s", got, want)
		}
	}
	t.Logf("%d operations", n)
	if n < 1000 {
		t.Error("they say little")
	}
}

// compareSymlinks looks at what the JSON of an operation has no room for.
func compareSymlinks(t *testing.T, want *pb.Op, got *llb.Op) {
	t.Helper()
	for i, a := range want.GetFile().GetActions() {
		if link := a.GetSymlink(); link != nil {
			if want, got := marshal(t, link), marshal(t, got.File.Actions[i].Symlink); !bytes.Equal(got, want) {
				t.Fatalf("symlink\n%s, want\n%s", got, want)
			}
		}
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// randomOp returns an operation of some kind.
func randomOp(random *rand.Rand) *pb.Op {
	op := &pb.Op{}
	switch random.IntN(7) {
	case 0:
		exec := &pb.ExecOp{Meta: &pb.Meta{}}
		fill(random, exec.ProtoReflect(), 0)
		if exec.Meta == nil {
			exec.Meta = &pb.Meta{}
		}
		op.Op = &pb.Op_Exec{Exec: exec}
	case 1:
		source := &pb.SourceOp{}
		fill(random, source.ProtoReflect(), 0)
		op.Op = &pb.Op_Source{Source: source}
	case 2:
		merge := &pb.MergeOp{}
		fill(random, merge.ProtoReflect(), 0)
		op.Op = &pb.Op_Merge{Merge: merge}
	case 3:
		op.Op = &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: random.Int64N(3) - 1}, Upper: &pb.UpperDiffInput{Input: random.Int64N(3)}}}
	case 4:
		pass := &pb.PassthroughOp{}
		fill(random, pass.ProtoReflect(), 0)
		op.Op = &pb.Op_Passthrough{Passthrough: pass}
	case 5:
		build := &pb.BuildOp{}
		fill(random, build.ProtoReflect(), 0)
		build.Def = nil // which ocicache does not look into
		op.Op = &pb.Op_Build{Build: build}
	default:
		op.Op = &pb.Op_File{File: randomFileOp(random)}
	}
	if random.IntN(2) == 0 {
		op.Platform = &pb.Platform{}
		fill(random, op.Platform.ProtoReflect(), 0)
	}
	for range random.IntN(3) {
		op.Inputs = append(op.Inputs, &pb.Input{Digest: "sha256:a", Index: random.Int64N(2)})
	}
	return op
}

// randomFileOp returns actions, each of which does something.
func randomFileOp(random *rand.Rand) *pb.FileOp {
	f := &pb.FileOp{}
	for range 1 + random.IntN(3) {
		a := &pb.FileAction{Input: random.Int64N(4) - 1, SecondaryInput: random.Int64N(4) - 1, Output: random.Int64N(2) - 1}
		switch random.IntN(5) {
		case 0:
			a.Action = &pb.FileAction_Copy{Copy: filled(random, &pb.FileActionCopy{})}
		case 1:
			a.Action = &pb.FileAction_Mkfile{Mkfile: filled(random, &pb.FileActionMkFile{})}
		case 2:
			a.Action = &pb.FileAction_Mkdir{Mkdir: filled(random, &pb.FileActionMkDir{})}
		case 3:
			a.Action = &pb.FileAction_Rm{Rm: filled(random, &pb.FileActionRm{})}
		default:
			a.Action = &pb.FileAction_Symlink{Symlink: filled(random, &pb.FileActionSymlink{})}
		}
		f.Actions = append(f.Actions, a)
	}
	return f
}

func filled[M interface{ ProtoReflect() protoreflect.Message }](random *rand.Rand, m M) M {
	fill(random, m.ProtoReflect(), 0)
	return m
}

// fill sets fields of a message at random, whatever fields it has.
func fill(random *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if random.IntN(3) == 0 {
			continue
		}
		switch {
		case field.IsMap():
			values := m.Mutable(field).Map()
			for range random.IntN(3) {
				key := randomValue(random, field.MapKey()).MapKey()
				if field.MapValue().Message() == nil {
					values.Set(key, randomValue(random, field.MapValue()))
					continue
				}
				value := values.NewValue()
				fill(random, value.Message(), depth+1)
				values.Set(key, value)
			}
		case field.IsList():
			values := m.Mutable(field).List()
			for range 1 + random.IntN(3) {
				if field.Message() == nil {
					values.Append(randomValue(random, field))
					continue
				}
				value := values.NewElement()
				fill(random, value.Message(), depth+1)
				values.Append(value)
			}
		case field.Message() != nil:
			if depth < 4 {
				fill(random, m.Mutable(field).Message(), depth+1)
			}
		default:
			m.Set(field, randomValue(random, field))
		}
	}
	// A user that is none is one with ID 0 in JSON, and comes back as that.
	if m.Descriptor().Name() == "UserOpt" && m.WhichOneof(m.Descriptor().Oneofs().Get(0)) == nil {
		m.Set(fields.ByName("byID"), protoreflect.ValueOfUint32(0))
	}
}

func randomValue(random *rand.Rand, field protoreflect.FieldDescriptor) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString([]string{"", "a", "/b/c", "<&>\u2028", "x y", "\"quoted\""}[random.IntN(6)])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{byte(random.IntN(256)), 0})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(random.IntN(2) == 0)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(random.Int64N(5) - 2)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(random.Int32N(5) - 2)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(random.Uint32N(3))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(random.IntN(3)))
	default:
		return field.Default()
	}
}
