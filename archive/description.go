package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Names in an archive: its files other than blobs, and the directory of the blobs.
const (
	layoutName      = "oci-layout"
	indexName       = "index.json"
	descriptionName = "ocicache.json"
	blobsName       = "blobs"
)

// Limits of what is read from an archive.
const (
	// MaxDescription is the largest description that is read, in bytes.
	MaxDescription = 64 << 20
	// MaxEntries is how many entries an archive may have.
	MaxEntries = 1 << 20
)

// descriptionVersion is the only version of descriptions so far.
const descriptionVersion = 1

// ErrDescription marks a description that makes no sense.
var ErrDescription = errors.New("bad bundle description")

// Description is the bundle description, the file ocicache.json in an archive: what the archive holds and what it requires.
type Description struct {
	// Index is the digest of index.json.
	Index digest.Digest
	// Blobs are in the archive, in this order.
	Blobs []Blob
	// Requires are blobs that its caches need as well, left out because the far side has them.
	Requires []Blob
}

// Blob is a blob with its size in bytes.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// descriptionFile is how a description is written.
type descriptionFile struct {
	Version  int           `json:"ocicacheBundle"`
	Index    digest.Digest `json:"index"`
	Blobs    []Blob        `json:"blobs"`
	Requires []Blob        `json:"requires"`
}

// Marshal returns the description's bytes, the same for the same description. Their digest is the archive's id.
func (d *Description) Marshal() ([]byte, error) {
	file := descriptionFile{Version: descriptionVersion, Index: d.Index, Blobs: d.Blobs, Requires: d.Requires}
	if file.Blobs == nil {
		file.Blobs = []Blob{}
	}
	if file.Requires == nil {
		file.Requires = []Blob{}
	}
	return json.Marshal(file)
}

// ParseDescription reads a description. It fails with ErrDescription if something in it is invalid, or if a blob is
// listed twice.
func ParseDescription(raw []byte) (*Description, error) {
	var file descriptionFile
	if err := unmarshalBlobs(raw, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDescription, err)
	}
	if file.Version != descriptionVersion {
		return nil, fmt.Errorf("%w: this version of ocicache does not know version %d", ErrDescription, file.Version)
	}
	if err := buildcache.CheckDigest(file.Index); err != nil {
		return nil, fmt.Errorf("%w: index: %w", ErrDescription, err)
	}
	seen := map[digest.Digest]bool{}
	for _, blob := range append(file.Blobs[:len(file.Blobs):len(file.Blobs)], file.Requires...) {
		if err := checkBlob(blob); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDescription, err)
		}
		if seen[blob.Digest] {
			return nil, fmt.Errorf("%w: blob %s is listed twice", ErrDescription, blob.Digest)
		}
		seen[blob.Digest] = true
	}
	return &Description{Index: file.Index, Blobs: file.Blobs, Requires: file.Requires}, nil
}

func checkBlob(blob Blob) error {
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return err
	}
	if blob.Size < 0 {
		return fmt.Errorf("blob %s: invalid size %d", blob.Digest, blob.Size)
	}
	return nil
}

// leastValue is the least that a JSON value in a list of blobs takes on average, in bytes: each blob has three, and its
// digest alone takes 71.
const leastValue = 24

// unmarshalBlobs reads JSON that is mostly a list of blobs. It refuses JSON full of other values before they become Go
// values, which take ten times as much memory.
func unmarshalBlobs(raw []byte, into any) error {
	values := 0
	for _, sign := range []string{"{", "[", ","} {
		values += bytes.Count(raw, []byte(sign))
	}
	if most := len(raw)/leastValue + leastValue; values > most {
		return fmt.Errorf("%d JSON values are too many for a list of blobs with %d bytes", values, len(raw))
	}
	return json.Unmarshal(raw, into)
}
