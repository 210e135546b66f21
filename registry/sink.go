package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Has reports whether the registry has a blob or a manifest with the descriptor's size.
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
	size, has, err := r.held(ctx, blob)
	return has && size == blob.Size, err
}

// held returns whether the registry has a blob, and how large it is there.
func (r *Repository) held(ctx context.Context, blob buildcache.Descriptor) (size int64, has bool, err error) {
	if size, ok := r.known.size(blob.Digest); ok {
		return size, true, nil
	}
	if r.bare.Load() && r.known.isBare() {
		return 0, false, nil
	}
	size, has, err = r.look(ctx, blob)
	if err != nil {
		return 0, false, err
	}
	if r.known.asked(has); has && size == blob.Size {
		r.known.add(blob)
	}
	return size, has, nil
}

// look asks the registry for the size of a blob, whatever is known about it.
func (r *Repository) look(ctx context.Context, blob buildcache.Descriptor) (size int64, has bool, err error) {
	ask := func(ctx context.Context, c *client, _ *watchdog) (err error) {
		size, has, err = c.size(ctx, blob.Digest)
		return err
	}
	if what := "look for blob " + blob.Digest.String(); r.pushes.Load() {
		err = r.try(ctx, what, r.writes.host, reading, func(ctx context.Context, dog *watchdog) error { return ask(ctx, r.writes, dog) })
	} else {
		err = r.read(ctx, what, ask)
	}
	return size, has, err
}

// Put pushes a blob, or a root under its digest. A blob that the registry already has is not sent, and one that another of its
// repositories has is mounted. A blob that it has with another size is sent; if it keeps the old one, Put fails with a
// *layout.HeldError.
func (r *Repository) Put(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
	if err := r.check(ctx, blob); err != nil {
		return err
	}
	r.pushes.Store(true)
	if buildcache.IsManifestType(blob.MediaType) {
		return r.putRoot(ctx, blob, open)
	}
	size, has, err := r.held(ctx, blob)
	if err == nil && !has {
		size, has, err = r.mount(ctx, blob)
	}
	if err != nil || has && size == blob.Size {
		return err
	}
	if err := r.upload(ctx, blob, open); err != nil {
		return r.refusal(blob, err)
	}
	if has {
		return r.Recheck(ctx, blob)
	}
	r.known.take(blob)
	return nil
}

// mount has a blob mounted from a repository that seems to have it, and returns how large it then is. It is not an error if
// that does not work: then the blob is sent.
func (r *Repository) mount(ctx context.Context, blob buildcache.Descriptor) (size int64, mounted bool, err error) {
	holders := &r.writes.host.holders
	from := holders.of(blob.Digest, r.writes.path)
	if from == "" {
		return 0, false, nil
	}
	ask := func(ctx context.Context, _ *watchdog) (err error) {
		mounted, err = r.writes.mount(ctx, blob.Digest, from)
		return err
	}
	if err := r.try(ctx, "mount blob "+blob.Digest.String(), r.writes.host, writing, ask); err != nil || !mounted {
		holders.forget(blob.Digest)
		return 0, false, context.Cause(ctx)
	}
	size, mounted, err = r.look(ctx, blob) // the other repository may have a damaged one
	if mounted && size == blob.Size {
		r.known.add(blob)
	} else {
		holders.forget(blob.Digest)
	}
	return size, mounted, err
}

// Recheck looks at a blob that was sent. The registry may have had it in some repository, and may have kept that one, whatever it was
// sent: then the size is still another one. Only if it is, the blob is read, as a few registries report wrong sizes, or none.
func (r *Repository) Recheck(ctx context.Context, blob buildcache.Descriptor) error {
	if r.known.seen(blob) {
		return nil
	}
	size, has, err := r.look(ctx, blob)
	if err == nil && !has {
		err = r.blobError(blob, layout.ErrBlobMissing)
	}
	if err == nil && size != blob.Size {
		err = layout.ReadThrough(ctx, r, blob, func(int64) {})
	}
	if err == nil {
		r.known.add(blob)
		return nil
	}
	r.known.forget(blob.Digest) // so that others don't rely on it
	if errors.Is(err, layout.ErrBlobDamaged) || errors.Is(err, layout.ErrBlobSize) {
		err = &layout.HeldError{Place: r.String(), Err: err}
	}
	return err
}

// upload sends a blob.
func (r *Repository) upload(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
	return r.try(ctx, "push blob "+blob.Digest.String(), r.writes.host, writing, func(attempt context.Context, dog *watchdog) error {
		return renewed(func() error {
			stream := &lazyStream{dog: dog, open: func() (io.ReadCloser, error) {
				raw, err := open()
				if err != nil {
					return nil, err
				}
				return layout.NewVerifiedReader(ctx, "", blob, raw), nil
			}}
			err := r.writes.push(attempt, blob, stream)
			return errors.Join(stream.end(), err)
		})
	})
}

// refusal explains why a blob or a root was not taken. An error on our side is returned unwrapped.
func (r *Repository) refusal(sent buildcache.Descriptor, err error) error {
	var ours *writeError
	if errors.As(err, &ours) {
		return ours.err
	}
	return explained(r.Host(), sent, err)
}

// putRoot pushes a manifest under its digest.
func (r *Repository) putRoot(ctx context.Context, root buildcache.Descriptor, open layout.OpenFunc) (err error) {
	if _, ok := r.known.size(root.Digest); ok {
		return nil
	}
	raw, err := readAll(ctx, root, open)
	if err != nil {
		return err
	}
	err = r.try(ctx, "push root "+root.Digest.String(), r.writes.host, writing, func(ctx context.Context, _ *watchdog) error {
		return r.writes.put(ctx, root.Digest.String(), raw)
	})
	if err != nil {
		return r.refusal(root, err)
	}
	r.known.add(root)
	// The next read must come from the registry, to show what it made of the root.
	r.mu.Lock()
	r.manifests.forget(root.Digest)
	r.mu.Unlock()
	return nil
}

// readAll reads and verifies what a sink is given.
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
// is called again. As the registry could not be asked before whether it has the blob, it is asked afterwards. It may take a while to
// show what it took, so it is believed if it has nothing yet.
func (r *Repository) Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	r.pushes.Store(true)
	var blob buildcache.Descriptor
	err := r.try(ctx, "push a new blob", r.writes.host, writing, func(ctx context.Context, dog *watchdog) error {
		return renewed(func() (err error) {
			blob, err = r.ingestOnce(ctx, write, dog)
			return err
		})
	})
	if err != nil {
		return blob, r.refusal(blob, err)
	}
	if err = r.Recheck(ctx, blob); errors.Is(err, layout.ErrBlobMissing) {
		r.known.take(blob)
		err = nil
	}
	return blob, err
}

func (r *Repository) ingestOnce(ctx context.Context, write func(io.Writer) error, dog *watchdog) (buildcache.Descriptor, error) {
	var zero buildcache.Descriptor
	at, err := r.writes.begin(ctx)
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
	at, err = r.writes.send(ctx, at, &lazyStream{dog: dog, raw: pr})
	_ = pr.CloseWithError(errUploadEnded) // always nil; it ends a writer that is not done
	if writeErr := <-written; writeErr != nil && !errors.Is(writeErr, errUploadEnded) {
		return zero, &writeError{writeErr}
	}
	if err != nil {
		return zero, err
	}
	blob := buildcache.Descriptor{Digest: digest.NewDigest(digest.SHA256, hash), Size: counter.n}
	r.writes.host.pace.follows()
	return blob, r.writes.finish(ctx, at, blob.Digest)
}

// errUploadEnded ends a writer that is not done when its upload has ended.
var errUploadEnded = errors.New("the upload has ended")

// writeError is an error on our side, against which no retry helps.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// counter counts what passes.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// Tag points tag to root, which must have been pushed under its digest, if it still points to was. Registries can't do this in
// one step: if two tag at the same moment, both may succeed. Tag reads back what the tag names afterwards.
func (r *Repository) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if err := r.check(ctx, root); err != nil {
		return err
	}
	r.pushes.Store(true)
	if err := r.CheckTag(tag); err != nil {
		return err
	}
	now, err := r.tagged(ctx, tag)
	if err != nil {
		return err
	}
	if now == root.Digest {
		return nil // even if tags can't be changed
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
	return r.try(ctx, "write the tag "+tag, r.writes.host, writing, func(ctx context.Context, _ *watchdog) error {
		return r.writes.put(ctx, tag, raw)
	})
}

// afterFailedTag finds out what a tag names after writing it failed, as the answer may have been lost on the way. It does not
// wait as long again for a registry that was silent.
func (r *Repository) afterFailedTag(ctx context.Context, tag string, root buildcache.Descriptor, cause error) error {
	if errors.Is(cause, ErrIdle) {
		var end context.CancelFunc
		ctx, end = context.WithTimeoutCause(ctx, r.options.idle()/8, ErrIdle)
		defer end()
	}
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
