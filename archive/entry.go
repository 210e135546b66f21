package archive

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// maxEntryName is the longest name that an entry may have, in bytes: the limit for paths on Linux.
const maxEntryName = 4096

// entryKind is the role of a tar entry in the layout.
type entryKind int

const (
	entryOther       entryKind = iota // nothing that a layout needs
	entryDirectory                    //
	entryLayout                       // oci-layout
	entryIndex                        // index.json
	entryDescription                  // ocicache.json
	entryBlob
)

// entryNames decides what the entries of one archive are. Their names may begin with ./ and with a directory, the same
// for all: somebody packed the directory from outside.
type entryNames struct {
	prefix string // of all files of the layout, with a trailing slash
	known  bool   // a file of the layout was seen, so prefix counts
	count  int
	seen   map[[sha256.Size]byte]bool // sums of names, as names may be long
}

// classify returns what an entry is, and its digest if it is a blob. Whatever an honest tar of a layout can't contain, or
// another program would unpack as something else, is an error.
func (n *entryNames) classify(header *tar.Header) (entryKind, digest.Digest, error) {
	if n.count++; n.count > MaxEntries {
		return 0, "", fmt.Errorf("more than %d entries", MaxEntries)
	}
	if err := checkType(header); err != nil {
		return 0, "", err
	}
	name, err := cleanName(header.Name)
	if err != nil {
		return 0, "", err
	}
	if header.Typeflag == tar.TypeDir {
		return entryDirectory, "", nil
	}
	if strings.HasSuffix(header.Name, "/") {
		return 0, "", errors.New("a file with the name of a directory")
	}
	sum := sha256.Sum256([]byte(name))
	if n.seen[sum] {
		return 0, "", errors.New("duplicate entry")
	}
	if n.seen == nil {
		n.seen = map[[sha256.Size]byte]bool{}
	}
	n.seen[sum] = true
	prefix, kind, blob, err := splitName(name)
	if err != nil || kind == entryOther {
		return entryOther, "", err
	}
	if n.known && prefix != n.prefix {
		return 0, "", fmt.Errorf("there is another layout in %q", "./"+n.prefix)
	}
	n.prefix, n.known = prefix, true
	return kind, blob, nil
}

// checkType accepts only directories, and files that are nothing but their bytes.
func checkType(header *tar.Header) error {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errors.New("a sparse file")
		}
	}
	switch header.Typeflag {
	case tar.TypeReg:
		return nil
	case tar.TypeDir:
		if header.Size != 0 {
			return fmt.Errorf("a directory with %d bytes", header.Size)
		}
		return nil
	case tar.TypeSymlink:
		return errors.New("a symbolic link")
	case tar.TypeLink:
		return errors.New("a hard link")
	case tar.TypeChar, tar.TypeBlock:
		return errors.New("a device")
	case tar.TypeFifo:
		return errors.New("a FIFO")
	case tar.TypeGNUSparse:
		return errors.New("a sparse file")
	default:
		return fmt.Errorf("an entry of type %q, which is not allowed in layouts", header.Typeflag)
	}
}

// cleanName returns a name without a leading ./ and without a trailing slash.
func cleanName(name string) (string, error) {
	if len(name) > maxEntryName {
		return "", fmt.Errorf("a name of %d bytes, the limit is %d", len(name), maxEntryName)
	}
	if strings.HasPrefix(name, "/") {
		return "", errors.New("an absolute path")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", errors.New("a path with \"..\" in it")
	}
	clean := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if name == "." || clean == "" {
		return ".", nil
	}
	if path.Clean(clean) != clean || strings.ContainsRune(clean, 0) {
		return "", errors.New("a path that is not in its simplest form")
	}
	return clean, nil
}

// layoutFiles are the files of a layout other than its blobs.
var layoutFiles = map[string]entryKind{
	layoutName: entryLayout, indexName: entryIndex, descriptionName: entryDescription,
}

// splitName splits the name of a file into the directory of its layout and what it is there. It fails if only a
// case-insensitive file system would see a file of a layout in it.
func splitName(name string) (prefix string, kind entryKind, blob digest.Digest, err error) {
	parts := strings.Split(name, "/")
	at := slices.IndexFunc(parts, func(part string) bool { return strings.EqualFold(part, blobsName) })
	if at >= 0 {
		blob, err := parseBlobName(parts[at:])
		return join(parts[:at]), entryBlob, blob, err
	}
	last := parts[len(parts)-1]
	for file, kind := range layoutFiles {
		if last == file {
			return join(parts[:len(parts)-1]), kind, "", nil
		}
		if strings.EqualFold(last, file) {
			return "", 0, "", fmt.Errorf("differs from %s only in case", file)
		}
	}
	return "", entryOther, "", nil
}

// join makes a prefix from directories.
func join(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, "/") + "/"
}

// parseBlobName reads blobs/ALGORITHM/HEX.
func parseBlobName(parts []string) (digest.Digest, error) {
	if len(parts) != 3 {
		return "", errors.New("not the name of a blob")
	}
	blob := digest.NewDigestFromEncoded(digest.Algorithm(parts[1]), parts[2])
	if parts[0] == blobsName && buildcache.CheckDigest(blob) == nil {
		return blob, nil
	}
	lower := digest.NewDigestFromEncoded(digest.Algorithm(strings.ToLower(parts[1])), strings.ToLower(parts[2]))
	if buildcache.CheckDigest(lower) == nil {
		return "", errors.New("differs from the name of a blob only in case")
	}
	return "", errors.New("not the name of a blob")
}
