package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
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
	Path      string // for a registry, what follows docker://
	Tag       string // "" where none was given
}

// ErrReference marks text that is no reference.
var ErrReference = errors.New("not a reference")

// tagPattern is what BuildKit and registries take as a tag; the OCI specification's ref.name allows more, such as
// slashes, which image names in layouts have.
var tagPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+@:-]{0,255}$`)

// ParseReference reads a reference as skopeo and podman spell it: oci:DIR[:TAG], oci-archive:FILE[:TAG],
// docker://NAME, - for a stream, and a bare path, which is never cut at a colon. It does not look at the disk.
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
		if rest == "" {
			return Reference{}, fmt.Errorf("%w: %q names no repository", ErrReference, text)
		}
		return Reference{Transport: TransportRegistry, Path: rest}, nil
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

// CheckTag says whether text can be a tag.
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
		return "docker://" + r.Path
	default:
		text := string(r.Transport) + ":" + r.Path
		if r.Tag != "" {
			text += ":" + r.Tag
		}
		return text
	}
}

// ColonHint returns the reference that was probably meant where a bare path is not there, but what stands before its
// last colon is: oci:./cache:v1 for ./cache:v1. It is "" where nothing can be guessed.
func ColonHint(path string) string {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	at := strings.LastIndexByte(path, ':')
	if at <= 0 || !tagPattern.MatchString(path[at+1:]) {
		return ""
	}
	info, err := os.Stat(path[:at])
	if err != nil {
		return ""
	}
	transport := TransportArchive
	if info.IsDir() {
		transport = TransportLayout
	}
	return Reference{Transport: transport, Path: path[:at], Tag: path[at+1:]}.String()
}
