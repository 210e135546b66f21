package layout

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// What can be wrong with a blob. A *BlobError wraps one of them.
var (
	ErrBlobMissing = errors.New("no such blob")
	ErrBlobSize    = errors.New("wrong size")
	ErrBlobDamaged = errors.New("bytes differ from the digest")
)

// ErrBlobBlocked says that a blob can't be stored because its name is taken. A *BlobError wraps it.
var ErrBlobBlocked = errors.New("a directory has its name")

// ErrListedOnly says that a tag is listed, but names nothing.
var ErrListedOnly = fmt.Errorf("%w: the registry lists the tag but has no manifest for it", ErrBlobMissing)

// ErrNotLayout marks a path that isn't an OCI layout.
var ErrNotLayout = errors.New("not an OCI layout (it has no blobs, and no index.json that is an image index)")

// ErrOtherFiles says that the directory in which to create a layout holds something else.
var ErrOtherFiles = fmt.Errorf("%w, and not empty", ErrNotLayout)

// BlobError says which blob of which place is wrong.
type BlobError struct {
	Digest digest.Digest // "" if the error is about no single blob
	Place  string        // a path or a repository; "" for whoever supplied the bytes, see BlameSource
	Err    error
}

func (e *BlobError) Error() string {
	switch {
	case e.Digest == "":
		return fmt.Sprintf("%s: %v", e.Place, e.Err)
	case e.Place == "":
		return fmt.Sprintf("blob %s: %v", e.Digest, e.Err)
	}
	return fmt.Sprintf("blob %s in %s: %v", e.Digest, e.Place, e.Err)
}

// Unwrap returns the cause.
func (e *BlobError) Unwrap() error { return e.Err }

// HeldError says that a destination has a damaged copy of a blob and keeps it, although the right bytes were sent or about to be:
// registries don't accept a blob that they already have.
type HeldError struct {
	Place string
	Err   error // a *BlobError
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s has a damaged copy of a blob and won't replace it: %v", e.Place, e.Err)
}

// Unwrap returns what is wrong with the copy.
func (e *HeldError) Unwrap() error { return e.Err }

// DeletedError says what went wrong after a tag was deleted. The tag is gone.
type DeletedError struct {
	Place, Tag string
	Err        error
}

func (e *DeletedError) Error() string {
	return fmt.Sprintf("%s: the tag %q was deleted, but then: %v", e.Place, e.Tag, e.Err)
}

// Unwrap returns the cause.
func (e *DeletedError) Unwrap() error { return e.Err }

// OfImageError says that what is missing or damaged is part of an image, not of a cache.
type OfImageError struct{ Err error }

func (e *OfImageError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *OfImageError) Unwrap() error { return e.Err }

// UnreadError says that the root or the config of a cache can't be read. Without them there is no cache.
type UnreadError struct {
	What string // root or cache config
	Err  error
}

func (e *UnreadError) Error() string { return fmt.Sprintf("read %s: %v", e.What, e.Err) }

// Unwrap returns the cause.
func (e *UnreadError) Unwrap() error { return e.Err }

// NotFoundError says that a place doesn't have what was asked for: a tag, a digest, or any cache at all.
type NotFoundError struct {
	Place  string
	Tag    string        // "" if any cache would have done
	Digest digest.Digest // of the root asked for, "" if none
	Tags   []string      // of the caches there
	// Missing is the part of the place itself that is missing, as Presence says it; "" if only what was asked for is missing from it.
	Missing string
	// Images says that there are images, but no caches; Inline, that one of them carries an inline cache.
	Images, Inline bool
	// Unnamed are roots of caches that are there untagged. Partial says that none of them has all its blobs.
	Unnamed []digest.Digest
	Partial bool
	// Begun says that there is no root at all, but there are blobs or unfinished files. Interrupted work looks like this, because roots
	// and tags are written last.
	Begun bool
}

func (e *NotFoundError) Error() string {
	switch {
	case e.Missing != "":
		return fmt.Sprintf("%s: there is no %s", e.Place, e.Missing)
	case e.Digest != "":
		return fmt.Sprintf("%s: root %s not found", e.Place, e.Digest)
	case e.Tag != "" && len(e.Tags) > 0:
		return fmt.Sprintf("%s: no cache has the tag %q (available: %s)", e.Place, cut(e.Tag), cutAll(e.Tags))
	case e.Tag != "":
		return fmt.Sprintf("%s: no cache has the tag %q", e.Place, cut(e.Tag))
	case e.Images:
		return fmt.Sprintf("%s: contains images, but no cache", e.Place)
	default:
		return fmt.Sprintf("%s: contains no cache", e.Place)
	}
}

// AmbiguousError says that one cache, or one image, was wanted, but there are several.
type AmbiguousError struct {
	Place  string
	Tags   []string
	Images bool // one image was wanted, not one cache
}

func (e *AmbiguousError) Error() string {
	what := "caches"
	if e.Images {
		what = "images"
	}
	return fmt.Sprintf("%s: contains several %s, and none was chosen (available: %s)", e.Place, what, cutAll(e.Tags))
}

// DanglingError says that a tag names a root that is missing. BuildKit leaves such tags when one build exports several local caches.
type DanglingError struct {
	Place   string
	Tag     string
	Root    digest.Digest   // "" if the place doesn't even tell
	Unnamed []digest.Digest // roots of caches that are there untagged
	Partial bool            // none of Unnamed has all its blobs
	Err     error           // what the place says about the root
}

// Unwrap returns what the place says about the root.
func (e *DanglingError) Unwrap() error { return e.Err }

func (e *DanglingError) Error() string {
	if e.Root == "" {
		return fmt.Sprintf("%s: the tag %q points to nothing: %v", e.Place, cut(e.Tag), e.Err)
	}
	text := fmt.Sprintf("%s: the tag %q points to %s, which is missing", e.Place, cut(e.Tag), e.Root)
	if len(e.Unnamed) == 0 {
		return text
	}
	return fmt.Sprintf("%s (untagged cache roots there: %s)", text, joinDigests(e.Unnamed))
}

func joinDigests(digests []digest.Digest) string {
	words := make([]string, len(digests))
	for i, d := range digests {
		words[i] = d.String()
	}
	return strings.Join(words, ", ")
}

// LockedError says that another process held a lock for longer than the lock timeout.
type LockedError struct {
	Path   string
	Holder string // such as "process 812 (buildctl)", or "" if unknown
}

func (e *LockedError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by %s", e.Path, e.Holder)
}

// TagMovedError says that somebody else changed a tag while it was being worked on. Digests are "" for no tag.
type TagMovedError struct {
	Place    string
	Tag      string
	Was, Now digest.Digest
}

func (e *TagMovedError) Error() string {
	if e.Now == "" {
		return fmt.Sprintf("%s: the tag %q was removed meanwhile (it pointed to %s)", e.Place, cut(e.Tag), e.Was)
	}
	if e.Was == "" {
		return fmt.Sprintf("%s: the tag %q was created meanwhile by another process (%s)", e.Place, cut(e.Tag), e.Now)
	}
	return fmt.Sprintf("%s: the tag %q was moved meanwhile by another process, from %s to %s", e.Place, cut(e.Tag), e.Was, e.Now)
}

// TakenError says that a tag already names something of another kind: an image where a cache was to go, or vice versa.
type TakenError struct {
	Place, Tag string
	Root       digest.Digest // what has the tag
	Is, Want   Kind
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s: the tag %q is taken by something else (%s %s, want %s)", e.Place, cut(e.Tag), e.Is, e.Root, e.Want)
}
