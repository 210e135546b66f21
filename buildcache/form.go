package buildcache

import (
	"fmt"
	"slices"
)

// Form is how a cache is wrapped: the kind of its root.
type Form string

// The forms. BuildKit writes the first three. Other tools make the last one out of an artifact, and BuildKit imports it.
const (
	DockerList     Form = "docker-list"
	OCIIndex       Form = "oci-index"
	Artifact       Form = "artifact"
	DockerManifest Form = "docker-manifest"
)

// Forms returns the forms that ocicache writes, in the order in which help texts name them.
func Forms() []Form { return []Form{DockerList, OCIIndex, Artifact} }

// CheckForm returns an error unless f is a form that ocicache writes. "" is not one.
func CheckForm(f Form) error {
	if !slices.Contains(Forms(), f) {
		return fmt.Errorf("unknown form %q (want %s)", f, alternatives(Forms()))
	}
	return nil
}

// ParseForm reads the name of a form that ocicache writes.
func ParseForm(name string) (Form, error) {
	f := Form(name)
	if err := CheckForm(f); err != nil {
		return "", err
	}
	return f, nil
}

// MediaType returns the media type of a root in this form.
func (f Form) MediaType() string {
	switch f {
	case DockerList:
		return MediaTypeDockerList
	case OCIIndex:
		return MediaTypeOCIIndex
	case DockerManifest:
		return MediaTypeDockerManifest
	default:
		return MediaTypeOCIManifest
	}
}

// IsList reports whether layers and config stand side by side in a list, instead of in the members of a manifest.
func (f Form) IsList() bool { return f == DockerList || f == OCIIndex }

// docker reports whether layers have Docker's media types in this form.
func (f Form) docker() bool { return f == DockerList || f == DockerManifest }
