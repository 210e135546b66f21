package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// destination returns the one destination that blobs and roots are pushed through.
func (r *Repository) destination(ctx context.Context) (types.ImageDestination, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sink != nil {
		return r.sink, nil
	}
	ref, err := docker.NewReferenceUnknownDigest(r.name)
	if err != nil {
		return nil, err
	}
	sys, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	sink, err := ref.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	// The library asks for a token in every request that finds none, so one request goes ahead of the others.
	if _, _, err := sink.TryReusingBlob(ctx, types.BlobInfo{Digest: digest.FromString(""), Size: -1}, none.NoCache, false); err != nil {
		return nil, errors.Join(err, sink.Close())
	}
	r.sink = sink
	return sink, nil
}

// Has reports whether the registry has a blob or a manifest, with its size.
func (r *Repository) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	if err := r.check(ctx, blob); err != nil {
		return false, err
	}
	if buildcache.IsManifestType(blob.MediaType) {
		raw, err := r.manifest(ctx, blob)
		if errors.Is(err, layout.ErrBlobMissing) {
			return false, nil
		}
		return err == nil && int64(len(raw)) == blob.Size, err
	}
	var has bool
	err := r.try(ctx, "look for blob "+blob.Digest.String(), func(ctx context.Context, _ *watchdog) error {
		sink, err := r.destination(ctx)
		if err != nil {
			return err
		}
		var info types.BlobInfo
		has, info, err = sink.TryReusingBlob(ctx, types.BlobInfo{Digest: blob.Digest, Size: -1}, none.NoCache, false)
		has = has && info.Size == blob.Size
		return err
	})
	return has, err
}

// Put pushes a blob, or a root under its digest. What the registry has already is not sent.
func (r *Repository) Put(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
	if err := r.check(ctx, blob); err != nil {
		return err
	}
	if buildcache.IsManifestType(blob.MediaType) {
		return r.putRoot(ctx, blob, open)
	}
	err := r.try(ctx, "push blob "+blob.Digest.String(), func(attempt context.Context, dog *watchdog) error {
		sink, err := r.destination(attempt)
		if err != nil {
			return err
		}
		stream := &lazyStream{open: open, check: func(raw io.ReadCloser) io.ReadCloser {
			return layout.NewVerifiedReader(ctx, "", blob, raw)
		}}
		info, err := sink.PutBlob(attempt, &patientReader{stream, dog}, types.BlobInfo{Digest: blob.Digest, Size: blob.Size}, none.NoCache, false)
		if err := stream.close(); err != nil {
			return err
		}
		if err == nil && info.Size != blob.Size {
			err = r.blobError(blob, fmt.Errorf("%w: the registry has %d bytes, want %d", layout.ErrBlobSize, info.Size, blob.Size))
		}
		return err
	})
	return r.refusal(blob, err)
}

// refusal explains why a blob or a root was not taken. What went wrong on our side is none of the registry's.
func (r *Repository) refusal(sent buildcache.Descriptor, err error) error {
	var ours *writeError
	if errors.As(err, &ours) {
		return ours.err
	}
	return explained(r.Host(), sent, err)
}

// patientReader reads our side's bytes: for as long as it waits for them, the registry is not silent.
type patientReader struct {
	r   io.Reader
	dog *watchdog
}

func (p *patientReader) Read(b []byte) (int, error) {
	p.dog.pause()
	defer p.dog.alive()
	return p.r.Read(b)
}

// lazyStream opens what it reads at the first read: the transport asks the registry first whether it needs the bytes.
type lazyStream struct {
	open  layout.OpenFunc
	check func(io.ReadCloser) io.ReadCloser
	raw   io.ReadCloser
	err   error // of our side, which no retry helps against
}

func (s *lazyStream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.raw == nil {
		raw, err := s.open()
		if err != nil {
			s.err = err
			return 0, err
		}
		s.raw = s.check(raw)
	}
	n, err := s.raw.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// close returns what went wrong on our side.
func (s *lazyStream) close() error {
	err := s.err
	if s.raw != nil {
		err = errors.Join(err, s.raw.Close())
	}
	if err != nil {
		return &writeError{err}
	}
	return nil
}

// putRoot pushes a manifest under its digest.
func (r *Repository) putRoot(ctx context.Context, root buildcache.Descriptor, open layout.OpenFunc) (err error) {
	if has, err := r.Has(ctx, root); err != nil || has {
		return err
	}
	raw, err := readAll(ctx, root, open)
	if err != nil {
		return err
	}
	err = r.try(ctx, "push root "+root.Digest.String(), func(ctx context.Context, _ *watchdog) error {
		sink, err := r.destination(ctx)
		if err != nil {
			return err
		}
		return sink.PutManifest(ctx, raw, nil)
	})
	if err != nil {
		return r.refusal(root, err)
	}
	// The next read must come from the registry, to show what it made of it.
	r.mu.Lock()
	if old, ok := r.manifests[root.Digest]; ok {
		r.cached -= len(old)
		delete(r.manifests, root.Digest)
	}
	r.mu.Unlock()
	return nil
}

// readAll reads what a sink is given.
func readAll(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) (raw []byte, err error) {
	given, err := open()
	if err != nil {
		return nil, err
	}
	stream := layout.NewVerifiedReader(ctx, "", blob, given)
	defer func() { err = errors.Join(err, stream.Close()) }()
	return io.ReadAll(stream)
}

// Ingest pushes a blob whose digest is known only at its end. Nothing is kept in between: if the transfer breaks, write
// is called again.
func (r *Repository) Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	var blob buildcache.Descriptor
	err := r.try(ctx, "push a new blob", func(ctx context.Context, dog *watchdog) error {
		var err error
		blob, err = r.ingestOnce(ctx, write, dog)
		return err
	})
	return blob, r.refusal(blob, err)
}

func (r *Repository) ingestOnce(ctx context.Context, write func(io.Writer) error, dog *watchdog) (buildcache.Descriptor, error) {
	var zero buildcache.Descriptor
	sink, err := r.destination(ctx)
	if err != nil {
		return zero, err
	}
	pr, pw := io.Pipe()
	hash := sha256.New()
	counter := &counter{}
	written := make(chan error, 1)
	go func() {
		err := write(io.MultiWriter(pw, hash, counter))
		_ = pw.CloseWithError(err) // always nil; without an error the transport gets io.EOF
		written <- err
	}()
	info, err := sink.PutBlob(ctx, &patientReader{pr, dog}, types.BlobInfo{Size: -1}, none.NoCache, false)
	_ = pr.CloseWithError(errUploadEnded) // always nil; it ends a writer that is not done
	if writeErr := <-written; writeErr != nil && !errors.Is(writeErr, errUploadEnded) {
		return zero, &writeError{writeErr}
	}
	if err != nil {
		return zero, err
	}
	blob := buildcache.Descriptor{Digest: digest.NewDigest(digest.SHA256, hash), Size: counter.n}
	if info.Digest != blob.Digest || info.Size != blob.Size {
		return zero, r.blobError(blob, fmt.Errorf("%w: the registry took %s with %d bytes", layout.ErrBlobDamaged, info.Digest, info.Size))
	}
	return blob, nil
}

// errUploadEnded ends a writer whose upload has ended before it.
var errUploadEnded = errors.New("the upload has ended")

// writeError is an error of our side, which no retry helps against.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// counter counts what passes.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// Tag points tag to root, which was pushed under its digest before, if it still points to was. Registries can't do this
// in one step: two who tag at the same moment may both succeed. What the tag names afterwards is read back.
func (r *Repository) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if err := r.check(ctx, root); err != nil {
		return err
	}
	now, err := r.tagged(ctx, tag)
	if err != nil {
		return err
	}
	if now == root.Digest {
		return nil // also where tags can't be changed
	}
	if now != was {
		return &layout.TagMovedError{Place: r.String(), Tag: tag, Was: was, Now: now}
	}
	raw, err := r.manifest(ctx, root)
	if err != nil {
		return err
	}
	if err := r.putTag(ctx, tag, raw); err != nil {
		return r.afterFailedTag(ctx, tag, root, r.refusal(root, err))
	}
	now, err = r.tagged(ctx, tag)
	switch {
	case err != nil:
		return fmt.Errorf("the tag was written, but can't be read back: %w", err)
	case now != root.Digest:
		return &layout.TagMovedError{Place: r.String(), Tag: tag, Was: root.Digest, Now: now}
	}
	return nil
}

func (r *Repository) putTag(ctx context.Context, tag string, raw []byte) error {
	ref, err := r.reference(tag)
	if err != nil {
		return err
	}
	return r.try(ctx, "write the tag "+tag, func(ctx context.Context, _ *watchdog) error {
		sys, err := r.session(ctx)
		if err != nil {
			return err
		}
		sink, err := ref.NewImageDestination(ctx, sys)
		if err != nil {
			return err
		}
		return errors.Join(sink.PutManifest(ctx, raw, nil), sink.Close())
	})
}

// afterFailedTag finds out what a tag names after writing it failed: the answer may have got lost on the way.
func (r *Repository) afterFailedTag(ctx context.Context, tag string, root buildcache.Descriptor, cause error) error {
	now, err := r.tagged(ctx, tag)
	switch {
	case err != nil:
		return fmt.Errorf("%w (what the tag %q names now is unknown: %w)", cause, tag, err)
	case now == root.Digest:
		return nil
	case now == "":
		return fmt.Errorf("%w (the tag %q is still not there)", cause, tag)
	default:
		return fmt.Errorf("%w (the tag %q names %s as before)", cause, tag, now)
	}
}

// tagged returns the digest that a tag names in the registry now, or "".
func (r *Repository) tagged(ctx context.Context, tag string) (digest.Digest, error) {
	entry, err := r.entry(ctx, tag)
	if err != nil || entry == nil {
		return "", err
	}
	return entry.Descriptor.Digest, nil
}
