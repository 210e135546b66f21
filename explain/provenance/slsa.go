package provenance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
)

// buildConfig holds the steps of a build, the same in both versions of SLSA.
type buildConfig struct {
	Definition []struct {
		ID     string   `json:"id"`
		Op     *llb.Op  `json:"op"`
		Inputs []string `json:"inputs"`
	} `json:"llbDefinition"`
	DigestMapping map[digest.Digest]string `json:"digestMapping"`
}

// buildkitMetadata is what BuildKit adds, the same in both versions of SLSA.
type buildkitMetadata struct {
	Source struct {
		Locations map[string]struct {
			Locations []struct {
				SourceIndex int `json:"sourceIndex"`
				Ranges      []struct {
					Start struct {
						Line int `json:"line"`
					} `json:"start"`
					End struct {
						Line int `json:"line"`
					} `json:"end"`
				} `json:"ranges"`
			} `json:"locations"`
		} `json:"locations"`
		Infos []struct {
			Filename string `json:"filename"`
			Data     []byte `json:"data"`
		} `json:"infos"`
	} `json:"source"`
}

// predicate is SLSA provenance, of either version.
type predicate struct {
	// v1
	BuildDefinition *struct {
		ExternalParameters struct {
			Request request `json:"request"`
		} `json:"externalParameters"`
		InternalParameters struct {
			BuildConfig     *buildConfig `json:"buildConfig"`
			BuilderPlatform string       `json:"builderPlatform"`
			TargetPlatform  string       `json:"targetPlatform"`
		} `json:"internalParameters"`
		ResolvedDependencies []material `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Metadata struct {
			StartedOn  time.Time        `json:"startedOn"`
			FinishedOn time.Time        `json:"finishedOn"`
			BuildKit   buildkitMetadata `json:"buildkit_metadata"`
		} `json:"metadata"`
	} `json:"runDetails"`
	// v0.2
	BuildType  string `json:"buildType"`
	Invocation struct {
		Parameters  request `json:"parameters"`
		Environment struct {
			Platform string `json:"platform"`
		} `json:"environment"`
	} `json:"invocation"`
	BuildConfig *buildConfig `json:"buildConfig"`
	Materials   []material   `json:"materials"`
	Metadata    struct {
		BuildStartedOn  time.Time        `json:"buildStartedOn"`
		BuildFinishedOn time.Time        `json:"buildFinishedOn"`
		BuildKit        buildkitMetadata `json:"https://mobyproject.org/buildkit@v1#metadata"`
	} `json:"metadata"`
}

type request struct {
	Args map[string]string `json:"args"`
}

// How provenance is recognized in JSON, and how deeply it may be nested.
const (
	predicateSLSA   = "https://slsa.dev/provenance/"
	buildTypeOld    = "https://mobyproject.org/buildkit@v1"
	buildxMember    = "buildx.build.provenance"
	maxMetadataNest = 3
)

// parseJSON reads provenance out of JSON, whatever is around it.
func parseJSON(data []byte, depth int) ([]*Build, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, fmt.Errorf("read provenance: %w", err)
	}
	if payload, ok := members["payload"]; ok && depth < maxMetadataNest {
		return parseEnvelope(payload, depth)
	}
	if inner, ok := members["predicate"]; ok {
		return parseStatement(members["predicateType"], inner)
	}
	if _, ok := members["buildDefinition"]; ok {
		return one(parsePredicate(data))
	}
	if isOldBuildKit(members["buildType"]) {
		return one(parsePredicate(data))
	}
	return parseMetadataFile(members, depth)
}

// parseEnvelope reads a signed statement. Checking the signature is left to others.
func parseEnvelope(payload json.RawMessage, depth int) ([]*Build, error) {
	var inner []byte
	if err := json.Unmarshal(payload, &inner); err != nil {
		return nil, fmt.Errorf("payload of an envelope: %w", ErrNoProvenance)
	}
	return parseJSON(inner, depth+1)
}

func one(b *Build, err error) ([]*Build, error) {
	if err != nil {
		return nil, err
	}
	return []*Build{b}, nil
}

func isOldBuildKit(buildType json.RawMessage) bool {
	var text string
	return json.Unmarshal(buildType, &text) == nil && text == buildTypeOld
}

func parseStatement(kind, inner json.RawMessage) ([]*Build, error) {
	var text string
	if err := json.Unmarshal(kind, &text); err != nil || text == "" {
		return nil, fmt.Errorf("a statement without a type: %w", ErrNoProvenance)
	}
	if !strings.HasPrefix(text, predicateSLSA) {
		return nil, fmt.Errorf("a statement of type %.80s: %w", text, ErrNoProvenance)
	}
	return one(parsePredicate(inner))
}

// parseMetadataFile reads what buildx writes around provenance: the file of --metadata-file, for one build, for one with
// several platforms, or for several builds by bake; and what imagetools prints for an image.
func parseMetadataFile(members map[string]json.RawMessage, depth int) ([]*Build, error) {
	var builds []*Build
	for _, name := range sortedKeys(members) {
		value := members[name]
		if name != buildxMember && !strings.HasPrefix(name, buildxMember+"/") {
			if depth < maxMetadataNest && len(value) > 0 && value[0] == '{' {
				inner, err := parseJSON(value, depth+1)
				if err != nil && !isNothing(err) {
					return nil, err
				}
				for _, b := range inner {
					b.Name = cmp.Or(b.Name, name)
				}
				builds = append(builds, inner...)
			}
			continue
		}
		b, err := parsePredicate(value)
		if err != nil {
			return nil, err
		}
		builds = append(builds, b)
	}
	if len(builds) == 0 {
		return nil, ErrNoProvenance
	}
	return builds, nil
}

func parsePredicate(data []byte) (*Build, error) {
	var p predicate
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("read provenance: %w", err)
	}
	b := &Build{}
	config, metadata := p.BuildConfig, p.Metadata.BuildKit
	if v1 := p.BuildDefinition; v1 != nil {
		config, metadata = v1.InternalParameters.BuildConfig, p.RunDetails.Metadata.BuildKit
		b.Builder = llb.ParsePlatform(v1.InternalParameters.BuilderPlatform)
		b.Target = v1.InternalParameters.TargetPlatform
		b.Args = v1.ExternalParameters.Request.Args
		b.Started, b.Finished = p.RunDetails.Metadata.StartedOn, p.RunDetails.Metadata.FinishedOn
		b.pins = pinsOf(v1.ResolvedDependencies)
	} else {
		b.Builder = llb.ParsePlatform(p.Invocation.Environment.Platform)
		b.Args = p.Invocation.Parameters.Args
		b.Started, b.Finished = p.Metadata.BuildStartedOn, p.Metadata.BuildFinishedOn
		b.pins = pinsOf(p.Materials)
	}
	if config == nil || len(config.Definition) == 0 {
		return nil, &NoStepsError{}
	}
	if err := b.addSteps(config); err != nil {
		return nil, fmt.Errorf("read provenance: %w", err)
	}
	b.addLocations(&metadata)
	b.readFiles()
	b.dropLines()
	b.markIgnored()
	return b, nil
}

func (b *Build) addSteps(config *buildConfig) error {
	if len(config.Definition) > llb.MaxOps {
		return fmt.Errorf("more than %d steps", llb.MaxOps)
	}
	known := make(map[string]int, len(config.Definition))
	for i, s := range config.Definition {
		step := Step{ID: s.ID, Op: s.Op}
		if step.Op == nil {
			step.Op = &llb.Op{Unknown: "missing operation"}
		}
		if len(s.Inputs) > llb.MaxInputs {
			return fmt.Errorf("%s has more than %d inputs", s.ID, llb.MaxInputs)
		}
		for _, text := range s.Inputs {
			input, err := parseInput(text, known)
			if err != nil {
				return fmt.Errorf("%s: %w", s.ID, err)
			}
			step.Inputs = append(step.Inputs, input)
		}
		if _, ok := known[s.ID]; ok {
			return fmt.Errorf("two steps are called %q", s.ID)
		}
		known[s.ID] = i
		b.Steps = append(b.Steps, step)
	}
	for vertex, id := range config.DigestMapping {
		if i, ok := known[id]; ok {
			b.Steps[i].Vertex = vertex
		}
	}
	return nil
}

func (b *Build) addLocations(m *buildkitMetadata) {
	for _, info := range m.Source.Infos {
		b.Files = append(b.Files, llb.SourceFile{Name: info.Filename, Data: info.Data})
	}
	for i := range b.Steps {
		for _, l := range m.Source.Locations[b.Steps[i].ID].Locations {
			at := llb.Location{File: l.SourceIndex}
			for _, r := range l.Ranges {
				at.Add(r.Start.Line, r.End.Line)
			}
			if at.Start > 0 {
				b.Steps[i].At = append(b.Steps[i].At, at)
			}
		}
	}
}
