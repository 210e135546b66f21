package buildcache

import (
	"encoding/hex"
	"encoding/json"
	"regexp"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Successors returns what the manifest raw points to, for roots of caches as for images and indexes of images:
// entries or layers, config, and subject. It is nil where ParseSuccessors fails.
func Successors(raw []byte) []Descriptor {
	all, err := ParseSuccessors(raw)
	if err != nil {
		return nil
	}
	return all
}

// ParseSuccessors returns what Successors returns. It fails where the bytes are those of no manifest, where one value of it is not
// what the specification says, so that nobody can know what the manifest was meant to point to, and with a *ValuesError where it is
// full of tiny values.
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

// Mentions returns the digests that stand anywhere in a text, once each, whatever the text is and whatever they mean in it; but not
// those that say what a layer is uncompressed, which point to nothing: a layer that was compressed would keep the one
// that it was made of. Whoever must not lose anything follows these beside Successors.
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

// The two algorithms that CheckDigest lets through.
var mention = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}`) })

// uncompressed is what an annotation of a descriptor and the config of an image say of uncompressed layers.
var uncompressed = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`"` + regexp.QuoteMeta(AnnotationDiffID) + `"\s*:\s*"[^"]*"|"diff_ids"\s*:\s*\[[^\]\[{}]*\]`)
})

// escape is how JSON may spell a letter.
var escape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\\u00[0-7][0-9a-fA-F]`) })

// unescaped returns a text with the letters in the place of their escapes.
func unescaped(text []byte) []byte {
	return escape().ReplaceAllFunc(text, func(found []byte) []byte {
		letter, err := hex.DecodeString(string(found[len(found)-2:]))
		if err != nil {
			return found
		}
		return letter
	})
}

// IsListType reports whether a media type is one of a list of manifests.
func IsListType(mediaType string) bool {
	return mediaType == MediaTypeDockerList || mediaType == MediaTypeOCIIndex
}

// IsManifestType reports whether a media type is one of a manifest or of a list of manifests, so that what it describes
// has successors.
func IsManifestType(mediaType string) bool {
	return IsListType(mediaType) || mediaType == MediaTypeDockerManifest || mediaType == MediaTypeOCIManifest
}
