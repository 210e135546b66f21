package archive

import (
	"archive/tar"
	"io"

	"github.com/opencontainers/go-digest"
)

// isOurs reports whether a file begins like one that Pack wrote: with oci-layout, index.json, and a description that names
// this index.
func isOurs(file io.Reader) bool {
	r := tar.NewReader(file)
	var index digest.Digest
	for _, name := range []string{layoutName, indexName, descriptionName} {
		header, err := r.Next()
		if err != nil || header.Name != name || header.Size > MaxDescription {
			return false
		}
		raw, err := io.ReadAll(r)
		switch {
		case err != nil:
			return false
		case name == indexName:
			index = digest.FromBytes(raw)
		case name == descriptionName:
			description, err := ParseDescription(raw)
			return err == nil && description.Index == index
		}
	}
	return false
}
