package buildcache

import (
	"encoding/hex"
	"encoding/json"
	"regexp"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Successors returns what the manifest raw points to: entries or layers, config, and subject. raw may be the root of a cache,
// an image or an index of images. Successors returns nil if ParseSuccessors fails.
func Successors(raw []byte) []Descriptor {
	all, err := ParseSuccessors(raw)
	if err != nil {
		return nil
	}
	return all
}

// ParseSuccessors returns what Successors returns. It fails if raw is not a manifest, if one of its values is not what the
// specification says, because then nobody can know what the manifest was meant to point to, and with a *ValuesError if it has
// too many values.
func ParseSuccessors(raw []byte) ([]Descriptor, error) {
	if err := checkValues("manifest", raw, maxRootValues); err != nil {
		return nil, err
	}
	if _, err := DetectMediaType(raw); err != nil {
		return nil, err
	}
	var m struct {
		Config    *Descriptor  `json:"config"`
		Layers    []Descriptor `json:"layers"`
		Manifests []Descriptor `json:"manifests"`
		Subject   *Descriptor  `json:"subject"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	all := append(m.Layers, m.Manifests...)
	for _, d := range []*Descriptor{m.Config, m.Subject} {
		if d != nil {
			all = append(all, *d)
		}
	}
	return all, nil
}

// Mentions returns the digests that occur anywhere in a text, each once, whatever the text is and whatever they mean in it. It
// leaves out diffIDs, which point to nothing: otherwise, a layer that was compressed would keep the uncompressed one that it
// was made from. Callers that must not lose anything follow these digests as well as Successors.
func Mentions(text []byte) []digest.Digest {
	seen := map[digest.Digest]bool{}
	var all []digest.Digest
	for _, found := range mention().FindAll(uncompressed().ReplaceAllLiteral(unescaped(text), nil), -1) {
		if d := digest.Digest(found); !seen[d] {
			seen[d] = true
			all = append(all, d)
		}
	}
	return all
}

// mention matches a digest of the two algorithms that CheckDigest accepts.
var mention = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}`) })

// uncompressed matches the diffIDs in a descriptor's annotation and in an image's config.
var uncompressed = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`"` + regexp.QuoteMeta(AnnotationDiffID) + `"\s*:\s*"[^"]*"|"diff_ids"\s*:\s*\[[^\]\[{}]*\]`)
})

// escape matches an ASCII character that JSON spells as an escape.
var escape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\\u00[0-7][0-9a-fA-F]`) })

// unescaped returns a text with such escapes replaced by their characters.
func unescaped(text []byte) []byte {
	return escape().ReplaceAllFunc(text, func(found []byte) []byte {
		letter, err := hex.DecodeString(string(found[len(found)-2:]))
		if err != nil {
			return found
		}
		return letter
	})
}

// IsListType reports whether a media type is that of a list of manifests.
func IsListType(mediaType string) bool {
	return mediaType == MediaTypeDockerList || mediaType == MediaTypeOCIIndex
}

// IsManifestType reports whether a media type is that of a manifest or of a list of manifests, so that what it describes
// has successors.
func IsManifestType(mediaType string) bool {
	return IsListType(mediaType) || mediaType == MediaTypeDockerManifest || mediaType == MediaTypeOCIManifest
}
