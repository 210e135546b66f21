package inspect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// checkBlob reads one layer blob and says what is wrong with its bytes. What no result uses harms no build; but bytes
// that differ from their digest are an error in any case, because the next export will take them for the right ones.
func checkBlob(
	ctx context.Context, src layout.Source, layer buildcache.Descriptor, where string, used, deep bool, done func(int64),
) ([]buildcache.Problem, error) {
	var problems []buildcache.Problem
	report := func(kind buildcache.Kind, detail string, unusedEffect buildcache.Effect) {
		p := buildcache.NewProblem(kind, where, detail).On(layer.Digest)
		if !used {
			p = p.WithEffect(unusedEffect)
		}
		problems = append(problems, p)
	}
	read, err := readBlob(ctx, src, layer, deep, done)
	if errors.Is(err, layout.ErrBlobMissing) {
		report(buildcache.BlobMissing, "", buildcache.RegistryRefuses)
		return problems, nil
	}
	if err != nil {
		return nil, err
	}
	if read.digest != layer.Digest {
		detail := fmt.Sprintf("its bytes have the digest %s", read.digest)
		if read.size != layer.Size {
			detail = fmt.Sprintf("it has %d bytes instead of %d", read.size, layer.Size)
		}
		report(buildcache.BlobDamaged, detail, buildcache.BuildFails)
		return problems, nil
	}
	if read.size != layer.Size {
		report(buildcache.BlobSize, fmt.Sprintf("the descriptor says %d bytes, it has %d", layer.Size, read.size), buildcache.RegistryRefuses)
	}
	if kind, detail := checkLabel(layer, read.packing.Compression); kind != "" {
		report(kind, detail, buildcache.Waste)
		if kind == buildcache.LayerUnreadable {
			return problems, nil
		}
	}
	switch want := layer.DiffID(); {
	case !deep:
	case read.unpackErr != nil:
		report(buildcache.LayerUnreadable, read.unpackErr.Error(), buildcache.Waste)
	case want != "" && want != read.diffID:
		report(buildcache.LayerDiffID, fmt.Sprintf("its diffID should be %s and is %s", want, read.diffID), buildcache.Waste)
	}
	return problems, nil
}

// checkLabel compares how a blob is packed with its media type. BuildKit asks the media type only whether it has to
// look at the bytes.
func checkLabel(layer buildcache.Descriptor, packed buildcache.Compression) (buildcache.Kind, string) {
	said, ok := buildcache.LayerCompression(layer.MediaType)
	if packed == buildcache.Estargz {
		packed = buildcache.Gzip
	}
	if !ok || said == packed {
		return "", ""
	}
	detail := fmt.Sprintf("its media type is %s, its bytes are %s", layer.MediaType, packed)
	if !buildcache.IsSniffed(layer.MediaType) {
		return buildcache.LayerUnreadable, detail
	}
	return buildcache.LayerMislabelled, detail
}

// blobRead is what reading a blob gave.
type blobRead struct {
	digest    digest.Digest
	size      int64
	packing   compress.Packing
	diffID    digest.Digest // if it was unpacked
	unpackErr error         // why it could not be
}

func readBlob(
	ctx context.Context, src layout.Source, layer buildcache.Descriptor, deep bool, done func(int64),
) (read blobRead, err error) {
	if read.packing, err = detect(ctx, src, layer); err != nil {
		return read, err
	}
	raw, err := src.Open(ctx, layer)
	if err != nil {
		return read, err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	hash := layer.Digest.Algorithm().Hash()
	counted := &countingReader{ctx: ctx, r: raw, done: done}
	tee := io.TeeReader(counted, hash)
	if deep {
		read.diffID, read.unpackErr = unpack(tee, read.packing.Compression)
	}
	// What the unpacking left, or all of it.
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{tee}, make([]byte, 256<<10)); err != nil {
		return read, &layout.BlobError{Digest: layer.Digest, Place: fmt.Sprint(src), Err: err}
	}
	read.digest, read.size = digest.NewDigest(layer.Digest.Algorithm(), hash), counted.n
	return read, nil
}

func unpack(raw io.Reader, c buildcache.Compression) (digest.Digest, error) {
	r, err := compress.Unpack(raw, c)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	_, err = io.Copy(hash, r)
	return digest.NewDigest(digest.SHA256, hash), errors.Join(err, r.Close())
}

// countingReader counts, reports progress, and ends with its context.
type countingReader struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no place for one
	r    io.Reader
	n    int64
	done func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.done(int64(n))
	return n, err
}
