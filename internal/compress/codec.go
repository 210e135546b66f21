package compress

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/ocicache/ocicache/buildcache"
)

// codec is everything that this package knows about one compression.
type codec struct {
	compression buildcache.Compression
	begins      func(head []byte) bool // recognizes it by a blob's first HeadSize bytes; nil if they do not tell
	levels      int                    // the highest; the lowest is 1; 0 for none
	isDefault   func(level int) bool   // the level gives the same bytes as the default; nil if that is not known of any
	encode      func(w io.Writer, tar io.Reader, level int) (Encoded, error)
	// decode calls large, which may wait, before it takes more memory than freeWindow.
	decode  func(raw io.Reader, large func() error) (io.ReadCloser, error)
	version func() string
}

// codecs is the one table of how the compressions of buildcache are recognized, read and written.
func codecs() []codec {
	return []codec{
		{buildcache.Uncompressed, nil, 0, nil, encodeNothing, decodeNothing, func() string { return "" }},
		{buildcache.Gzip, beginsGzip, 9, isGzipDefault, encodeGzip, decodeGzip, klauspostVersion},
		{buildcache.Zstd, beginsZstd, 22, isZstdDefault, encodeZstd, decodeZstd, klauspostVersion},
		{buildcache.Estargz, nil, 9, nil, encodeEstargz, decodeGzip, estargzVersion},
	}
}

func codecOf(c buildcache.Compression) (codec, error) {
	for _, codec := range codecs() {
		if codec.compression == c {
			return codec, nil
		}
	}
	if err := buildcache.CheckCompression(c); err != nil {
		return codec{}, err
	}
	return codec{}, fmt.Errorf("no codec for %s", c)
}

func beginsGzip(head []byte) bool { return bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8}) }

// beginsZstd knows that a zstd stream may begin with a skippable frame (RFC 8878, 3.1.2).
func beginsZstd(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18})
}

// CheckLevel returns an error if there is no such compression or it lacks the level. 0 stands for its default, which
// every compression has.
func CheckLevel(c buildcache.Compression, level int) error {
	codec, err := codecOf(c)
	switch {
	case err != nil:
		return err
	case level >= 0 && level <= codec.levels:
		return nil
	case codec.levels == 0:
		return fmt.Errorf("%s has no levels", c)
	default:
		return fmt.Errorf("%s has the levels 1 to %d, not %d", c, codec.levels, level)
	}
}

// Levels says which levels the compressions have, as a help text lists them.
func Levels() string {
	var all []string
	for _, codec := range codecs() {
		if codec.levels > 0 {
			all = append(all, fmt.Sprintf("%s 1-%d", codec.compression, codec.levels))
		}
	}
	return strings.Join(all, ", ")
}

// Level returns a level as it is noted for a layer: 0 if it gives the same bytes as the default.
func Level(c buildcache.Compression, level int) int {
	if codec, err := codecOf(c); err == nil && codec.isDefault != nil && codec.isDefault(level) {
		return 0
	}
	return level
}

// Version names the encoder of a compression, with everything that its output depends on. Two binaries with equal
// versions encode equal bytes. It is "" if nothing is encoded.
func Version(c buildcache.Compression) string {
	codec, err := codecOf(c)
	if err != nil {
		return ""
	}
	return codec.version()
}

func klauspostVersion() string { return moduleVersion("github.com/klauspost/compress") }

// estargzVersion includes the version of Go: the library encodes with the standard library's gzip.
func estargzVersion() string {
	return moduleVersion("github.com/containerd/stargz-snapshotter/estargz") + " " + runtime.Version()
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return path + "@unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path != path {
			continue
		}
		if dep.Replace != nil {
			dep = dep.Replace
		}
		return dep.Path + "@" + dep.Version
	}
	return path + "@unknown"
}
