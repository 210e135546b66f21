package inspect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// content is the outcome of unpacking a layer.
type content struct {
	err    error // why it could not be unpacked; then the other fields do not count
	diffID digest.Digest
	size   int64
	tarErr error         // why BuildKit can't extract the files
	toc    digest.Digest // of the table of contents, if it has one
}

// readContent unpacks a layer to its end, whatever it finds on the way.
func readContent(ctx context.Context, decoder *compress.Decoder, raw io.Reader, c buildcache.Compression) (found content) {
	r, err := decoder.Decode(ctx, raw, c)
	if err != nil {
		return content{err: err}
	}
	defer func() { found.err = errors.Join(found.err, r.Close()) }()
	hash := sha256.New()
	hashed := io.TeeReader(r, io.MultiWriter(hash, (*size)(&found.size)))
	found.toc, found.tarErr = compress.CheckTar(hashed)
	_, found.err = io.Copy(io.Discard, hashed)
	found.diffID = digest.NewDigest(digest.SHA256, hash)
	return found
}

// size counts what is written to it.
type size int64

func (s *size) Write(p []byte) (int, error) {
	*s += size(len(p))
	return len(p), nil
}

// contentFinding is a problem of a layer's content.
type contentFinding struct {
	kind   buildcache.Kind
	detail string
}

// compare returns what is wrong with the content, and with what the descriptor says about it.
func (c content) compare(layer buildcache.Descriptor) (found []contentFinding) {
	report := func(kind buildcache.Kind, format string, args ...any) {
		found = append(found, contentFinding{kind, fmt.Sprintf(format, args...)})
	}
	if c.err != nil {
		report(buildcache.LayerUnreadable, "%v", c.err)
		return found
	}
	if c.tarErr != nil {
		report(buildcache.LayerUnreadable, "%v", c.tarErr)
	}
	if want := layer.DiffID(); want != "" && want != c.diffID {
		report(buildcache.LayerDiffID, "its diffID should be %s, but is %s", want, c.diffID)
	}
	switch want, ok := layer.Annotations[buildcache.AnnotationTOCDigest]; {
	case !ok || want == c.toc.String():
	case c.toc == "":
		report(buildcache.LayerTOC, "its table of contents should be %q, but it has none", want)
	default:
		report(buildcache.LayerTOC, "its table of contents should be %q, but is %s", want, c.toc)
	}
	if want, ok := layer.Annotations[buildcache.AnnotationUncompressedSize]; ok && want != strconv.FormatInt(c.size, 10) {
		report(buildcache.LayerTOC, "it should unpack to %q bytes, but unpacks to %d", want, c.size)
	}
	return found
}
