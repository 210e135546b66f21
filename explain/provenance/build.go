// Package provenance reads what BuildKit records about the steps of a build:
// SLSA provenance (v0.2 and v1, as a statement or as a bare predicate),
// buildx's metadata file and exported history, an image's attestation, and LLB
// in protobuf.
//
// Its input is untrusted: sizes, numbers of steps and depths are bounded, and
// every input of a step is an earlier step.
package provenance

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
)

// ErrNoProvenance marks data without provenance from BuildKit.
var ErrNoProvenance = errors.New("no provenance of BuildKit in it")

// NoStepsError says that provenance does not contain the steps of its build.
// Its mode is min, the default of buildx.
type NoStepsError struct{}

func (*NoStepsError) Error() string { return "provenance without the steps of the build (mode=min)" }

// Build is what is known of one build, for one platform.
type Build struct {
	// Name is what the file calls the build, such as a bake target, or "" if it gives no name.
	Name  string
	Steps []Step
	Files []llb.SourceFile
	// Builder is the platform of the builder, Target the requested one, "" if none was requested.
	Builder llb.Platform
	Target  string
	// Args are the frontend's arguments, such as build-arg:NAME. They may contain secrets.
	Args map[string]string
	// Started is when the build began, or the zero time if unknown.
	Started time.Time
	// Finished is when all of its steps had run, or the zero time if unknown.
	Finished time.Time

	pins map[string]llb.Pin // by the URI of a material
	read []dockerfile       // of Files
}

// Step is one operation of a build.
type Step struct {
	ID     string // such as step7
	Vertex digest.Digest
	Op     *llb.Op
	Inputs []Input
	At     []llb.Location
	// Name is what BuildKit showed for the step, "" if unknown.
	Name string
	// Cached is whether BuildKit took the step from a cache, nil if unknown.
	Cached *bool
	// IgnoreCache says that BuildKit was told to run the step even if it was cached.
	IgnoreCache bool
}

// Input is an output of an earlier step.
type Input struct {
	Step   int // index in Build.Steps
	Output int
}

// TargetStep returns the step whose result the build is for, or -1 if there are no steps.
func (b *Build) TargetStep() int { return len(b.Steps) - 1 }

// Pin returns what the build found when it resolved the source of a step.
func (b *Build) Pin(step int) llb.Pin {
	source := b.Steps[step].Op.Source
	if source == nil {
		return llb.Pin{}
	}
	for _, uri := range materialURIs(source) {
		if pin, ok := b.pins[uri]; ok {
			return pin
		}
	}
	return llb.Pin{}
}

// materialURIs returns the names that the source may have in the list of materials.
func materialURIs(source *llb.SourceOp) []string {
	scheme, rest := source.Scheme()
	switch scheme {
	case "git":
		repository, fragment, _ := strings.Cut(rest, "#")
		ref, _, _ := strings.Cut(fragment, ":")
		var uris []string
		for _, url := range []string{source.Attrs["git.fullurl"], "git://" + repository, "https://" + repository} {
			if url == "" {
				continue
			}
			if ref != "" {
				url += "#" + ref
			}
			uris = append(uris, url)
		}
		return uris
	case "docker-image":
		return []string{imageURI(rest)}
	default:
		return []string{source.Identifier}
	}
}

// imageURI returns the package URL of an image's name, without its qualifiers.
func imageURI(name string) string {
	name, _, _ = strings.Cut(name, "@")
	slash := strings.LastIndexByte(name, '/')
	if colon := strings.LastIndexByte(name, ':'); colon > slash {
		name = name[:colon] + "@" + name[colon+1:]
	}
	name = strings.TrimPrefix(name, "docker.io/library/")
	return "pkg:docker/" + strings.TrimPrefix(name, "docker.io/")
}

// material is something that a build used, in SLSA's JSON.
type material struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

func pinsOf(materials []material) map[string]llb.Pin {
	pins := map[string]llb.Pin{}
	for _, m := range materials {
		uri := m.URI
		if strings.HasPrefix(uri, "pkg:") {
			uri, _, _ = strings.Cut(uri, "?")
		}
		var pin llb.Pin
		if hex := m.Digest["sha256"]; hex != "" {
			pin.Digest = digest.NewDigestFromEncoded(digest.SHA256, hex)
			pin.Commit = hex
		}
		if hex := m.Digest["sha1"]; hex != "" {
			pin.Commit = hex
		}
		if pin.Digest != "" && pin.Digest.Validate() != nil {
			continue
		}
		pins[uri] = pin
	}
	return pins
}

// parseInput reads an input as provenance writes it, such as step3:0.
func parseInput(text string, known map[string]int) (Input, error) {
	id, output, ok := strings.Cut(text, ":")
	step, earlier := known[id]
	n, err := strconv.Atoi(output)
	if !ok || !earlier || err != nil || n < 0 {
		return Input{}, fmt.Errorf("input %q is no output of an earlier step", text)
	}
	return Input{Step: step, Output: n}, nil
}
