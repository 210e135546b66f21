package llb

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protowire"
)

// Definition is a whole build, decoded from the protobuf that `buildctl build`
// reads.
type Definition struct {
	Ops []Vertex
	// Files are the Dockerfiles that the operations come from.
	Files []SourceFile
	// Locations maps a vertex's digest to the lines that it comes from.
	Locations map[digest.Digest][]Location
}

// Vertex is an operation with its digest and its inputs.
type Vertex struct {
	Digest      digest.Digest
	Op          *Op
	Inputs      []VertexInput
	IgnoreCache bool
	Name        string // a custom name, "" for none
}

// VertexInput is an output of another vertex.
type VertexInput struct {
	Digest digest.Digest
	Output int64
}

// SourceFile is a file that a build was made of.
type SourceFile struct {
	Name string
	Data []byte
}

// Location is a range of lines in a file. The first line is 1.
type Location struct {
	File       int // index in the list of files
	Start, End int
}

// Add extends the location to cover further lines.
func (l *Location) Add(start, end int) {
	if l.Start == 0 || start < l.Start {
		l.Start = start
	}
	l.End = max(l.End, end)
}

// MaxOps is the most operations that a definition may have.
const MaxOps = 1 << 17

var errProto = errors.New("not protobuf of an LLB definition")

// ParseDefinition reads LLB in protobuf. Unknown fields and operations are no
// error.
func ParseDefinition(data []byte) (*Definition, error) {
	d := &Definition{Locations: map[digest.Digest][]Location{}}
	meta := map[digest.Digest]opMeta{}
	err := EachField(data, func(f Field) error {
		switch f.Number {
		case 1:
			if len(d.Ops) == MaxOps {
				return fmt.Errorf("more than %d operations", MaxOps)
			}
			v, err := parseVertex(f.Bytes)
			d.Ops = append(d.Ops, v)
			return err
		case 2:
			return parseMapEntry(f.Bytes, func(key string, value []byte) error {
				m, err := parseOpMeta(value)
				meta[digest.Digest(key)] = m
				return err
			})
		case 3:
			return d.parseSource(f.Bytes)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read LLB: %w", err)
	}
	for i, v := range d.Ops {
		d.Ops[i].IgnoreCache, d.Ops[i].Name = meta[v.Digest].ignoreCache, meta[v.Digest].name
	}
	return d, nil
}

// Field is one field of a message in protobuf.
type Field struct {
	Number int
	Bytes  []byte // of a field with a length, and then never nil
	Value  uint64 // of a number
}

func (f Field) text() string { return string(f.Bytes) }
func (f Field) int() int64   { return int64(f.Value) } //nolint:gosec // protobuf's own representation of negative numbers
func (f Field) flag() bool   { return f.Value != 0 }

// EachField calls found for every field of a message.
func EachField(data []byte, found func(Field) error) error {
	for len(data) > 0 {
		num, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errProto
		}
		data = data[n:]
		f := Field{Number: int(num)}
		switch kind {
		case protowire.BytesType:
			f.Bytes, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			f.Value, n = protowire.ConsumeVarint(data)
		default:
			n = protowire.ConsumeFieldValue(num, kind, data)
		}
		if n < 0 {
			return errProto
		}
		data = data[n:]
		if err := found(f); err != nil {
			return err
		}
	}
	return nil
}

// parseMapEntry reads one entry of a map from text to messages.
func parseMapEntry(data []byte, found func(key string, value []byte) error) error {
	var key string
	var value []byte
	err := EachField(data, func(f Field) error {
		switch f.Number {
		case 1:
			key = f.text()
		case 2:
			value = f.Bytes
		}
		return nil
	})
	if err != nil {
		return err
	}
	return found(key, value)
}

type opMeta struct {
	ignoreCache bool
	name        string
}

func parseOpMeta(data []byte) (opMeta, error) {
	var m opMeta
	err := EachField(data, func(f Field) error {
		switch f.Number {
		case 1:
			m.ignoreCache = f.flag()
		case 2:
			return parseMapEntry(f.Bytes, func(key string, value []byte) error {
				if key == "llb.customname" {
					m.name = string(value)
				}
				return nil
			})
		}
		return nil
	})
	return m, err
}

func (d *Definition) parseSource(data []byte) error {
	return EachField(data, func(f Field) error {
		switch f.Number {
		case 1:
			return parseMapEntry(f.Bytes, func(key string, value []byte) error {
				locations, err := parseLocations(value)
				d.Locations[digest.Digest(key)] = locations
				return err
			})
		case 2:
			var file SourceFile
			err := EachField(f.Bytes, func(f Field) error {
				switch f.Number {
				case 1:
					file.Name = f.text()
				case 2:
					file.Data = f.Bytes
				}
				return nil
			})
			d.Files = append(d.Files, file)
			return err
		}
		return nil
	})
}

func parseLocations(data []byte) ([]Location, error) {
	var all []Location
	err := EachField(data, func(f Field) error {
		if f.Number != 1 {
			return nil
		}
		var at Location
		err := EachField(f.Bytes, func(f Field) error {
			switch f.Number {
			case 1:
				at.File = int(int32(f.int())) //nolint:gosec // an int32 in protobuf
			case 2:
				r, err := parseRange(f.Bytes)
				at.Add(r[0], r[1])
				return err
			}
			return nil
		})
		if at.Start > 0 {
			all = append(all, at)
		}
		return err
	})
	return all, err
}

func parseRange(data []byte) (r [2]int, err error) {
	err = EachField(data, func(f Field) error {
		if f.Number != 1 && f.Number != 2 {
			return nil
		}
		return EachField(f.Bytes, func(position Field) error {
			if position.Number == 1 {
				r[f.Number-1] = int(int32(position.int())) //nolint:gosec // an int32 in protobuf
			}
			return nil
		})
	})
	return r, err
}

func parseVertex(data []byte) (Vertex, error) {
	v := Vertex{Digest: digest.FromBytes(data), Op: &Op{}}
	err := EachField(data, func(f Field) error {
		switch f.Number {
		case 1:
			input, err := parseInput(f.Bytes)
			v.Inputs = append(v.Inputs, input)
			return err
		case 10:
			p, err := parsePlatform(f.Bytes)
			v.Op.Platform = p
			return err
		case 11:
			return nil
		default:
			return v.Op.parseKind(f)
		}
	})
	if err != nil {
		return v, err
	}
	if len(v.Inputs) > MaxInputs {
		return v, fmt.Errorf("an operation with more than %d inputs", MaxInputs)
	}
	return v, v.Op.validate()
}

func parseInput(data []byte) (VertexInput, error) {
	var input VertexInput
	err := EachField(data, func(f Field) error {
		switch f.Number {
		case 1:
			input.Digest = digest.Digest(f.text())
		case 2:
			input.Output = f.int()
		}
		return nil
	})
	return input, err
}

func parsePlatform(data []byte) (*Platform, error) {
	p := &Platform{}
	err := EachField(data, func(f Field) error {
		switch f.Number {
		case 1:
			p.Architecture = f.text()
		case 2:
			p.OS = f.text()
		case 3:
			p.Variant = f.text()
		case 4:
			p.OSVersion = f.text()
		case 5:
			p.OSFeatures = append(p.OSFeatures, f.text())
		}
		return nil
	})
	return p, err
}

// parseKind reads the field that says what an operation does.
func (o *Op) parseKind(f Field) error {
	if !o.IsResult() { // the last field of a oneof counts
		*o = Op{Platform: o.Platform}
	}
	var err error
	switch f.Number {
	case 2:
		o.Exec, err = parseExec(f.Bytes)
	case 3:
		o.Source, err = parseSourceOp(f.Bytes)
	case 4:
		o.File, err = parseFileOp(f.Bytes)
	case 5:
		o.Build, err = parseBuild(f.Bytes)
	case 6:
		o.Merge, err = parseMerge(f.Bytes)
	case 7:
		o.Diff, err = parseDiff(f.Bytes)
	case 8:
		o.Passthrough, err = parsePassthrough(f.Bytes)
	default:
		o.Unknown = fmt.Sprintf("unknown operation %d", f.Number)
	}
	if errors.Is(err, errUnknownField) {
		*o = Op{Platform: o.Platform, Unknown: o.Kind()}
		return nil
	}
	return err
}
