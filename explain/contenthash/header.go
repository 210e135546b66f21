package contenthash

import (
	"hash"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Type is the type of a file, as tar spells it.
type Type byte

// The types.
const (
	TypeFile    Type = '0'
	TypeSymlink Type = '2'
	TypeChar    Type = '3'
	TypeBlock   Type = '4'
	TypeDir     Type = '5'
	TypeFifo    Type = '6'
)

// Header is what counts about a file apart from its bytes.
type Header struct {
	Type         Type
	Mode         int64 // permissions, and setuid, setgid and sticky as 04000, 02000 and 01000
	UID, GID     int
	Size         int64 // of a file, in bytes
	Linkname     string
	Major, Minor int64
	Xattrs       map[string]string
}

// hash returns a hash that has consumed the header and is ready for the file's bytes.
func (h Header) hash() hash.Hash {
	sum := digest.SHA256.Hash()
	_, _ = io.WriteString(sum, h.text())
	return sum
}

func (h Header) digest(bytes []byte) digest.Digest {
	sum := h.hash()
	_, _ = sum.Write(bytes)
	return digest.NewDigest(digest.SHA256, sum)
}

// text returns what BuildKit hashes before the bytes.
func (h Header) text() string {
	number := func(name string, n int64) string { return name + strconv.FormatInt(n, 10) }
	var b strings.Builder
	for _, part := range []string{
		"name", number("mode", h.mode()), number("uid", int64(h.UID)), number("gid", int64(h.GID)), number("size", h.Size),
		"typeflag", string(rune(h.Type)), "linkname", h.Linkname, "uname", "gname",
		number("devmajor", h.Major), number("devminor", h.Minor),
	} {
		b.WriteString(part)
	}
	for _, name := range slices.Sorted(maps.Keys(h.Xattrs)) {
		if countsXattr(name) {
			b.WriteString(name + h.Xattrs[name])
		}
	}
	return b.String()
}

// mode returns the mode that counts: all symbolic links have the same.
func (h Header) mode() int64 {
	if h.Type == TypeSymlink {
		return 0o777
	}
	return h.Mode
}

// countsXattr reports whether an extended attribute enters the checksum.
func countsXattr(name string) bool {
	return name == "security.capability" || !strings.HasPrefix(name, "security.") && !strings.HasPrefix(name, "system.")
}
