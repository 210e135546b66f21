package provenance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
)

// MaxSize is the largest file that is read as provenance, in bytes.
const MaxSize = 64 << 20

// Parse reads the builds that a file describes, whatever kind of file it is.
//
// It fails with a *NoStepsError if there is provenance but without steps, and
// with ErrNoProvenance if there is none.
func Parse(data []byte) ([]*Build, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("read provenance: larger than %d bytes", MaxSize)
	}
	trimmed := bytes.TrimLeft(data, " \t\r\n\ufeff")
	switch {
	case len(trimmed) == 0:
		return nil, ErrNoProvenance
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		return parseDockerbuild(data)
	case data[0] == 0x0a && !json.Valid(trimmed): // field 1 of an LLB definition; its length may look like a brace
		return one(parseLLB(data))
	case trimmed[0] == '{':
		return parseJSON(trimmed, 0)
	default:
		return nil, ErrNoProvenance
	}
}

// isNothing reports whether an error says only that there is no provenance.
func isNothing(err error) bool { return errors.Is(err, ErrNoProvenance) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// parseLLB reads LLB in protobuf.
func parseLLB(data []byte) (*Build, error) {
	d, err := llb.ParseDefinition(data)
	if err != nil {
		return nil, err
	}
	if len(d.Ops) == 0 {
		return nil, ErrNoProvenance
	}
	b := &Build{Files: d.Files}
	b.readFiles()
	known := map[digest.Digest]int{}
	for i, v := range d.Ops {
		step := Step{
			ID: fmt.Sprintf("step%d", i), Vertex: v.Digest, Op: v.Op, At: d.Locations[v.Digest],
			Name: v.Name, IgnoreCache: v.IgnoreCache,
		}
		for _, input := range v.Inputs {
			from, ok := known[input.Digest]
			if !ok || input.Output < 0 || input.Output > llb.MaxInputs {
				return nil, fmt.Errorf("read LLB: input %s of operation %d is no output of an earlier one", input.Digest, i)
			}
			step.Inputs = append(step.Inputs, Input{Step: from, Output: int(input.Output)})
		}
		known[v.Digest] = i
		b.Steps = append(b.Steps, step)
	}
	b.dropLines()
	return b, nil
}
