package convert

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// isProved reads the blob that a step is to reuse, and reports whether it is the layer in the wanted compression: its
// bytes match its digest, they contain the tar of the source's layer, and everything else that is claimed about it,
// which goes into the result, is true.
func (j *job) isProved(ctx context.Context, s *step) (bool, error) {
	blob := buildcache.Descriptor{
		MediaType: buildcache.LayerMediaType(buildcache.Artifact, s.to.Compression), Digest: s.to.Digest, Size: s.to.Size,
	}
	if s.to.TOCDigest != "" {
		blob.Annotations = map[string]string{buildcache.AnnotationTOCDigest: s.to.TOCDigest.String()}
	}
	var held, want tarSums
	err := j.o.OnEvent.Track("prove", blob.Digest, blob.Size, func(done func(int64)) (err error) {
		held, err = sumTar(ctx, j.dst, blob, j.o.decoder, func(bytes int64) {
			j.proved.Add(bytes)
			done(bytes)
		})
		return err
	})
	if isBroken(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if held.compression != s.to.Compression || held.full != s.to.DiffID ||
		held.toc != s.to.TOCDigest || held.fullSize != s.to.UncompressedSize {
		return false, nil
	}
	want.tar = s.from.DiffID()
	if s.encoding.Compression == buildcache.Estargz || want.tar == "" {
		// Its diffID is not the digest of the tar alone, so the source has to be read as well.
		if want, err = sumTar(ctx, sourceOf(j.src, s.from), s.from, j.o.decoder, func(bytes int64) { j.proved.Add(bytes) }); isBroken(err) {
			return false, nil // recompressing it will say what is wrong
		}
	}
	return held.tar == want.tar, err
}

// isBroken reports whether a layer is missing, damaged, not encoded as it should be, or without a whole tar in it. That proves nothing,
// and is no failure either. What only a broken connection shows is not of that kind.
func isBroken(err error) bool {
	var decode *compress.DecodeError
	var tar *TarError
	if errors.Is(err, layout.ErrPatched) {
		return false
	}
	return errors.As(err, &decode) || errors.As(err, &tar) || errors.Is(err, layout.ErrBlobDamaged) || errors.Is(err, layout.ErrBlobSize) ||
		errors.Is(err, layout.ErrBlobMissing)
}

// tarSums are the digests of what is in a layer.
type tarSums struct {
	compression buildcache.Compression // by the bytes
	tar, full   digest.Digest          // without and with an estargz blob's table of contents; else the same
	toc         digest.Digest          // of an estargz blob's table of contents, else ""
	fullSize    int64                  // of an estargz blob's tar with its table of contents, in bytes, else 0
}

// sumTar reads a layer, verified, decodes it, and fails with a *TarError where BuildKit could not extract its files.
func sumTar(
	ctx context.Context, src layout.Source, blob buildcache.Descriptor, decoder *compress.Decoder, done func(int64),
) (sums tarSums, err error) {
	encoding, err := detect(ctx, src, blob)
	if err != nil {
		return sums, err
	}
	if _, ok := src.(layout.RandomAccess); !ok && encoding.Compression == buildcache.Estargz {
		spooled, err := spool(ctx, src, blob)
		if err != nil {
			return sums, err
		}
		defer func() { err = errors.Join(err, spooled.section.Close()) }()
		if encoding, err = detect(ctx, spooled, blob); err != nil {
			return sums, err
		}
		src = spooled
	}
	counted := layout.Counted(ctx, func() (io.ReadCloser, error) { return layout.OpenVerified(ctx, src, blob) }, done)
	raw, err := counted()
	if err != nil {
		return sums, err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	full, tar := sha256.New(), sha256.New()
	files := checkTar()
	defer files.end() //nolint:errcheck // where it is needed it was read
	decoded, err := decoder.DecodeTar(ctx, raw, encoding, io.MultiWriter(full, files))
	if err != nil {
		return sums, settledDecode(raw, err)
	}
	_, err = io.Copy(tar, decoded)
	toc, size, tarErr := files.end()
	if err = errors.Join(settledDecode(raw, err), decoded.Close()); err == nil && tarErr != nil {
		err = &TarError{Blob: blob.Digest, Err: tarErr}
	}
	sums.compression = encoding.Compression
	sums.tar, sums.full = digest.NewDigest(digest.SHA256, tar), digest.NewDigest(digest.SHA256, full)
	if encoding.Compression == buildcache.Estargz {
		sums.toc, sums.fullSize = toc, size
	}
	return sums, err
}

// settledDecode returns an error of reading and decoding a stream, or that it proves nothing: decoders notice wrong bytes before their
// digest is compared.
func settledDecode(raw io.Closer, err error) error {
	var decode *compress.DecodeError
	if errors.As(err, &decode) {
		return layout.Settled(raw, err)
	}
	return err
}
