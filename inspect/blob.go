package inspect

import (
	"context"
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
func (v *verifier) checkBlob(
	ctx context.Context, layer buildcache.Descriptor, where string, used bool, done func(int64),
) ([]buildcache.Problem, error) {
	var problems []buildcache.Problem
	report := func(kind buildcache.Kind, detail string, unusedEffect buildcache.Effect) {
		p := buildcache.NewProblem(kind, where, detail).On(layer.Digest)
		if !used {
			p = p.WithEffect(unusedEffect)
		}
		problems = append(problems, p)
	}
	read, err := readBlob(ctx, v.src, layer, v.decoder, done)
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
	if kind, detail := checkLabel(layer, read.encoding.Compression); kind != "" {
		report(kind, detail, buildcache.Waste)
		if kind == buildcache.LayerUnreadable {
			return problems, nil
		}
	}
	if v.options.Deep {
		for _, f := range read.content.compare(layer) {
			report(f.kind, f.detail, buildcache.Waste)
		}
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
	digest   digest.Digest
	size     int64
	encoding compress.Encoding
	content  content // if it was unpacked
}

// readBlob hashes a blob, and unpacks it if there is a decoder.
func readBlob(
	ctx context.Context, src layout.Source, layer buildcache.Descriptor, decoder *compress.Decoder, done func(int64),
) (read blobRead, err error) {
	if read.encoding, err = detect(ctx, src, layer); err != nil {
		return read, err
	}
	open := func() (io.ReadCloser, error) { return src.Open(ctx, layer) }
	raw, err := layout.Counted(ctx, open, func(n int64) { read.size += n; done(n) })()
	if err != nil {
		return read, err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	hash := layer.Digest.Algorithm().Hash()
	tee := io.TeeReader(raw, hash)
	if decoder != nil {
		read.content = readContent(ctx, decoder, tee, read.encoding.Compression)
	}
	// What the unpacking left, or all of it.
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{tee}, make([]byte, 256<<10)); err != nil {
		return read, &layout.BlobError{Digest: layer.Digest, Place: src.String(), Err: err}
	}
	read.digest = digest.NewDigest(layer.Digest.Algorithm(), hash)
	return read, nil
}
