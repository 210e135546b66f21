package layout

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Transport is the kind of place that a reference names.
type Transport string

// The transports. A bare path is TransportPath until somebody looks what lies there.
const (
	TransportPath     Transport = "path"
	TransportLayout   Transport = "oci"
	TransportArchive  Transport = "oci-archive"
	TransportRegistry Transport = "docker"
	TransportStream   Transport = "-"
)

// Reference is how the command line names a cache in a place.
type Reference struct {
	Transport Transport
	Path      string        // for a registry, its host and the repository
	Tag       string        // "" where none was given
	Digest    digest.Digest // of a root in a registry, "" where none was given
}

// ErrReference marks text that is no reference.
var ErrReference = errors.New("not a reference")

// tagPattern is what registries take as a tag, and what else image names in layouts have: slashes, colons and the like, and
// twice the length.
var tagPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+@:-]{0,255}$`)

// ParseReference reads a reference as skopeo and podman spell it: oci:DIR[:TAG], oci-archive:FILE[:TAG],
// docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST], - for a stream, and a bare path, which is never cut at a colon. It does
// not look at the disk.
func ParseReference(text string) (Reference, error) {
	if text == "" {
		return Reference{}, fmt.Errorf("%w: it is empty", ErrReference)
	}
	if strings.ContainsRune(text, 0) {
		return Reference{}, fmt.Errorf("%w: %q has a NUL in it", ErrReference, text)
	}
	if text == string(TransportStream) {
		return Reference{Transport: TransportStream}, nil
	}
	if rest, ok := strings.CutPrefix(text, "docker://"); ok {
		return splitName(text, rest)
	}
	for _, wrong := range []string{"https://", "http://", "docker:/", "ocidir://", "registry://"} {
		if rest, ok := strings.CutPrefix(text, wrong); ok {
			rest = strings.TrimLeft(rest, "/")
			meant := Reference{Transport: TransportRegistry, Path: rest}
			if wrong == "ocidir://" {
				meant.Transport = TransportLayout
			}
			return Reference{}, &SpellingError{Text: text, Meant: meant.String()}
		}
	}
	for _, transport := range []Transport{TransportLayout, TransportArchive} {
		if rest, ok := strings.CutPrefix(text, string(transport)+":"); ok {
			return splitTag(transport, text, rest)
		}
	}
	return Reference{Transport: TransportPath, Path: text}, nil
}

// splitTag cuts PATH:TAG at the first colon, as the containers tools do.
func splitTag(transport Transport, text, rest string) (Reference, error) {
	path, tag, tagged := strings.Cut(rest, ":")
	if path == "" {
		return Reference{}, fmt.Errorf("%w: %q names no path", ErrReference, text)
	}
	if tagged && !tagPattern.MatchString(tag) {
		return Reference{}, fmt.Errorf("%w: %q is no tag in %q", ErrReference, tag, text)
	}
	return Reference{Transport: transport, Path: path, Tag: tag}, nil
}

// splitName cuts HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST. Whether host and repository can be such, whoever opens
// it says.
func splitName(text, name string) (Reference, error) {
	ref := Reference{Transport: TransportRegistry, Path: name}
	if path, hash, ok := strings.Cut(name, "@"); ok {
		ref.Path, ref.Digest = path, digest.Digest(hash)
		if err := buildcache.CheckDigest(ref.Digest); err != nil {
			return Reference{}, fmt.Errorf("%w: %q: %w", ErrReference, text, err)
		}
	}
	slash := strings.LastIndexByte(ref.Path, '/')
	if at := strings.IndexByte(ref.Path[slash+1:], ':'); at >= 0 {
		ref.Path, ref.Tag = ref.Path[:slash+1+at], ref.Path[slash+2+at:]
		if !tagPattern.MatchString(ref.Tag) {
			return Reference{}, fmt.Errorf("%w: %q is no tag in %q", ErrReference, ref.Tag, text)
		}
	}
	switch {
	case ref.Path == "":
		return Reference{}, fmt.Errorf("%w: %q names no repository", ErrReference, text)
	case ref.Tag != "" && ref.Digest != "":
		return Reference{}, fmt.Errorf("%w: %q has both a tag and a digest", ErrReference, text)
	}
	return ref, nil
}

// SpellingError says that text looks like a reference of other programs.
type SpellingError struct {
	Text  string
	Meant string // what is probably meant
}

func (e *SpellingError) Error() string { return fmt.Sprintf("%q is no reference", e.Text) }

// Unwrap returns ErrReference.
func (e *SpellingError) Unwrap() error { return ErrReference }

// CheckTag returns an error around ErrReference for text that can be no tag.
func CheckTag(text string) error {
	if !tagPattern.MatchString(text) {
		return fmt.Errorf("%w: %q is no tag", ErrReference, text)
	}
	return nil
}

// String returns the reference as ParseReference reads it.
func (r Reference) String() string {
	switch r.Transport {
	case TransportPath:
		return r.Path
	case TransportStream:
		return string(r.Transport)
	case TransportRegistry:
		text := "docker://" + r.Path
		if r.Tag != "" {
			text += ":" + r.Tag
		}
		if r.Digest != "" {
			text += "@" + r.Digest.String()
		}
		return text
	default:
		text := string(r.Transport) + ":" + r.Path
		if r.Tag != "" {
			text += ":" + r.Tag
		}
		return text
	}
}
