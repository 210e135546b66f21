package buildcache

import (
	_ "crypto/sha256" // the two algorithms that CheckDigest lets through must be linked in
	_ "crypto/sha512"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Annotations of layer descriptors that BuildKit reads or writes.
const (
	// AnnotationDiffID holds the digest of the uncompressed layer. BuildKit can't use a layer without it.
	AnnotationDiffID = "containerd.io/uncompressed"
	// AnnotationCreatedAt holds when the layer was created, in RFC 3339. It may be absent; if present, it must parse.
	AnnotationCreatedAt = "buildkit/createdat"
	// AnnotationTOCDigest and AnnotationUncompressedSize mark an estargz layer.
	AnnotationTOCDigest        = "containerd.io/snapshot/stargz/toc.digest"
	AnnotationUncompressedSize = "io.containers.estargz.uncompressed-size"
	// AnnotationDistributionSource is the prefix of annotations that say which registry the bytes came from. They are no longer
	// true once the bytes change.
	AnnotationDistributionSource = "containerd.io/distribution.source."
)

// Descriptor points to a blob, as specified by the OCI image specification (descriptor.md). Size is in bytes.
type Descriptor struct {
	MediaType   string
	Digest      digest.Digest
	Size        int64
	URLs        []string
	Annotations map[string]string
	Extra       Extra
}

func (d *Descriptor) fields() []field {
	return []field{
		{"mediaType", &d.MediaType, d.MediaType == ""},
		{"digest", &d.Digest, false},
		{"size", &d.Size, false},
		{"urls", &d.URLs, len(d.URLs) == 0},
		{"annotations", &d.Annotations, len(d.Annotations) == 0},
	}
}

// UnmarshalJSON reads a descriptor and keeps the members it does not know.
func (d *Descriptor) UnmarshalJSON(data []byte) error {
	return decodeObject(data, &d.Extra, d.fields()...)
}

// MarshalJSON writes the descriptor in the order of BuildKit's own output.
func (d Descriptor) MarshalJSON() ([]byte, error) { return encodeObject(d.Extra, d.fields()...) }

// Clone returns a copy that shares nothing that is ever changed in place.
func (d Descriptor) Clone() Descriptor {
	d.URLs = slices.Clone(d.URLs)
	d.Annotations = maps.Clone(d.Annotations)
	d.Extra = slices.Clone(d.Extra)
	return d
}

// DiffID returns the digest of the uncompressed layer that the descriptor claims, or "" if it claims none.
func (d Descriptor) DiffID() digest.Digest { return digest.Digest(d.Annotations[AnnotationDiffID]) }

// CreatedAt returns when the layer was created: the zero time if the descriptor does not say, and an error if BuildKit could
// not parse what it says.
func (d Descriptor) CreatedAt() (time.Time, error) {
	text, ok := d.Annotations[AnnotationCreatedAt]
	if !ok {
		return time.Time{}, nil
	}
	var t time.Time
	if err := t.UnmarshalText([]byte(text)); err != nil {
		return time.Time{}, fmt.Errorf("annotation %s: %w", AnnotationCreatedAt, err)
	}
	return t, nil
}

// CheckDigest returns an error unless d is a well-formed sha256 or sha512 digest. Nothing else may become part of a path.
func CheckDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", string(d), err)
	}
	if a := d.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return fmt.Errorf("digest %q: %w", string(d), digest.ErrDigestUnsupported)
	}
	return nil
}
