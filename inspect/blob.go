package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// checkBlob reads one layer blob and returns what is wrong with its bytes. A blob that no result uses harms no build; but bytes
// that differ from their digest are an error in any case, because the next export will take them for the right ones.
func (v *verifier) checkBlob(
	ctx context.Context, layer buildcache.Descriptor, where string, used bool,
) ([]buildcache.Problem, error) {
	var problems []buildcache.Problem
	report := func(kind buildcache.Kind, detail string, unusedEffect buildcache.Effect) {
		p := buildcache.NewProblem(kind, where, detail).On(layer.Digest)
		if !used {
			p = p.WithEffect(unusedEffect)
		}
		problems = append(problems, p)
	}
	read, err := v.blobs.read(ctx, layer, v.options.OnEvent)
	if errors.Is(err, layout.ErrBlobMissing) {
		report(buildcache.BlobMissing, "", buildcache.RegistryRefuses)
		return problems, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case read.digest == layer.Digest:
	case read.size > layer.Size: // how many more, and whether the first ones are right, is not worth reading them
		report(buildcache.BlobSize, fmt.Sprintf("the descriptor says %d bytes, but it has more", layer.Size), buildcache.RegistryRefuses)
		return problems, nil
	case read.size < layer.Size:
		report(buildcache.BlobDamaged, fmt.Sprintf("it has %d bytes instead of %d", read.size, layer.Size), buildcache.BuildFails)
		return problems, nil
	default:
		report(buildcache.BlobDamaged, otherBytes(read.digest, read.size), buildcache.BuildFails)
		return problems, nil
	}
	if read.size != layer.Size {
		report(buildcache.BlobSize, fmt.Sprintf("the descriptor says %d bytes, but it has %d", layer.Size, read.size), buildcache.RegistryRefuses)
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

// checkLabel compares how a blob is compressed with its media type. BuildKit uses the media type only to decide whether it has
// to look at the bytes.
func checkLabel(layer buildcache.Descriptor, packed buildcache.Compression) (buildcache.Kind, string) {
	said, ok := buildcache.LayerCompression(layer.MediaType)
	if packed == buildcache.Estargz {
		packed = buildcache.Gzip
	}
	if !ok || said == packed {
		return "", ""
	}
	detail := fmt.Sprintf("its media type is %s, but its bytes are %s", layer.MediaType, packed)
	if !buildcache.IsSniffed(layer.MediaType) {
		return buildcache.LayerUnreadable, detail
	}
	return buildcache.LayerMislabelled, detail
}

// blobRead is the outcome of reading a blob.
type blobRead struct {
	digest   digest.Digest
	size     int64
	encoding compress.Encoding
	content  content // if it was unpacked
}

// blobReader reads the blobs of a place, each once, whatever reaches it. A blob that is said to have several sizes is read once
// for each, because the size decides how far it is read.
type blobReader struct {
	src     layout.Source
	decoder *compress.Decoder // nil if nothing is unpacked

	mu    sync.Mutex
	known map[blobKey]blobOutcome
}

type blobKey struct {
	digest digest.Digest
	size   int64
}

func keyOf(blob buildcache.Descriptor) blobKey { return blobKey{blob.Digest, blob.Size} }

type blobOutcome struct {
	blobRead
	err error
}

func newBlobReader(src layout.Source, o Options) *blobReader {
	r := &blobReader{src: src, known: map[blobKey]blobOutcome{}}
	if o.Deep {
		r.decoder = compress.NewDecoder()
	}
	return r
}

func (r *blobReader) knows(blob buildcache.Descriptor) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.known[keyOf(blob)]
	return ok
}

// read returns the outcome of reading a blob. The same blob must not be read concurrently.
func (r *blobReader) read(ctx context.Context, blob buildcache.Descriptor, onEvent layout.Handler) (blobRead, error) {
	r.mu.Lock()
	known, ok := r.known[keyOf(blob)]
	r.mu.Unlock()
	if ok {
		return known.blobRead, known.err
	}
	err := onEvent.Track("verify", blob.Digest, blob.Size, func(done func(int64)) (err error) {
		known.blobRead, err = readBlob(ctx, r.src, blob, r.decoder, done)
		if errors.Is(err, layout.ErrBlobMissing) { // which is a finding, not a failure
			known.err, err = err, nil
		}
		return err
	})
	if err != nil {
		return known.blobRead, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[keyOf(blob)] = known
	return known.blobRead, known.err
}

// otherBytes says that a blob's bytes, with this digest and size, are not those that its name promises.
func otherBytes(got digest.Digest, size int64) string {
	if size == 0 {
		return "it is empty"
	}
	return fmt.Sprintf("its bytes have the digest %s", got)
}

// bounded reads a blob up to the first byte too many, however much a place sends.
type bounded struct {
	io.Reader
	io.Closer
}

// Settle is that of the stream that is bounded.
func (b bounded) Settle() error { return layout.Settled(b.Closer, nil) }

func bound(raw io.ReadCloser, size int64) io.ReadCloser {
	if size == math.MaxInt64 {
		return raw
	}
	return bounded{io.LimitReader(raw, size+1), raw}
}

// readBlob hashes a blob, and unpacks it if there is a decoder. It reads one byte more than the descriptor says, and no
// further. With an error, the size is what was read so far.
func readBlob(
	ctx context.Context, src layout.Source, layer buildcache.Descriptor, decoder *compress.Decoder, done func(int64),
) (read blobRead, err error) {
	if read.encoding, err = detect(ctx, src, layer); err != nil {
		return read, err
	}
	open := func() (io.ReadCloser, error) {
		raw, err := src.Open(ctx, layer)
		if err != nil {
			return nil, err
		}
		return bound(raw, layer.Size), nil
	}
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
	// Read what unpacking left, or all of it.
	buffer := make([]byte, min(256<<10, max(layer.Size, 0)+1)) // most blobs are small, and there are many
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{tee}, buffer); err != nil {
		return read, &layout.BlobError{Digest: layer.Digest, Place: src.String(), Err: err}
	}
	if read.digest = digest.NewDigest(layer.Digest.Algorithm(), hash); read.digest != layer.Digest {
		if err := layout.Settled(raw, nil); err != nil {
			return read, &layout.BlobError{Digest: layer.Digest, Place: src.String(), Err: err}
		}
	}
	return read, nil
}
