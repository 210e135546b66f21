package archive

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/ocicache/ocicache/internal/volumes"
)

// What can be wrong with an archive. A *HostileError wraps one of these, or another error.
var (
	// ErrNotArchive marks what is not a tar of an OCI layout at all.
	ErrNotArchive = errors.New("not an archive (a tar of an OCI layout)")
	// ErrTruncated marks an archive whose end is missing.
	ErrTruncated = errors.New("the end of the archive is missing")
	// ErrDamaged marks an archive with something else where an entry should begin.
	ErrDamaged = errors.New("the archive is damaged")
	// ErrTooLarge marks a compressed archive that unpacks to far more than its own size.
	ErrTooLarge = errors.New("it unpacks to far more than its own size")
)

// ErrRequired marks a blob that was left out of an archive because the far side has it.
var ErrRequired = errors.New("required, but left out of the archive")

// ErrStream marks an archive that can only be read from front to back, by UnpackStream: one that is compressed, or that
// comes from a pipe.
var ErrStream = errors.New("it can only be read from start to end")

// StreamError says which file can only be read from front to back. It wraps ErrStream.
type StreamError struct {
	File       string
	Compressed bool // or else it is a pipe, or the like
}

func (e *StreamError) Error() string {
	if e.Compressed {
		return fmt.Sprintf("%s is compressed: %v", e.File, ErrStream)
	}
	return fmt.Sprintf("%s: %v", e.File, ErrStream)
}

// Unwrap returns ErrStream.
func (e *StreamError) Unwrap() error { return ErrStream }

// HostileError says what is refused in an archive. Nothing of the archive is taken, except blobs already found to be right.
type HostileError struct {
	Archive string
	Entry   string // the name of the tar entry as it is there, "" if the error is about the whole archive
	Err     error
}

func (e *HostileError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("%s: %v", e.Archive, e.Err)
	}
	return fmt.Sprintf("%s: entry %q: %v", e.Archive, e.Entry, e.Err)
}

// Unwrap returns the cause.
func (e *HostileError) Unwrap() error { return e.Err }

// MissingBlob is a blob that an archive requires and that was found nowhere.
type MissingBlob struct {
	Blob
	// Tags are those that need it.
	Tags []string `json:"tags"`
	// Damaged says that the layout has it, but with the wrong bytes.
	Damaged bool `json:"damaged,omitempty"`
}

// MissingError lists everything that an archive requires and that is not in it, in the layout or in the base.
type MissingError struct {
	Archive string
	Into    string // the layout, "" if there is none yet
	Base    string // "" if none was given
	Blobs   []MissingBlob
	// Partial says that manifests are among them, so more may be missing.
	Partial bool
}

func (e *MissingError) Error() string {
	var text strings.Builder
	blobs := "1 blob that it needs is"
	if len(e.Blobs) != 1 {
		blobs = fmt.Sprintf("%d blobs that it needs are", len(e.Blobs))
	}
	fmt.Fprintf(&text, "%s: %s not in it", e.Archive, blobs)
	for _, place := range []string{e.Into, e.Base} {
		if place != "" {
			fmt.Fprintf(&text, " nor in %s", place)
		}
	}
	text.WriteString(":")
	for _, blob := range e.Blobs {
		fmt.Fprintf(&text, "\n  %s, %d bytes, for %s", blob.Digest, blob.Size, someOf(blob.Tags))
		if blob.Damaged {
			text.WriteString(" (it is there, but damaged)")
		}
	}
	if e.Partial {
		text.WriteString("\nsome of them are manifests, so blobs that those need may be missing too")
	}
	return text.String()
}

// FullError says that a disk filled up before an archive was whole. Nothing was packed.
type FullError struct {
	Need int64 // the size of all files of the archive together, in bytes; 0 if it is not known yet
	Err  error
}

func (e *FullError) Error() string { return e.Err.Error() }

// Unwrap returns what could not be written.
func (e *FullError) Unwrap() error { return e.Err }

// orFull turns an error about a full disk into a *FullError, unless the archive was written nonetheless.
func orFull(err error, need int64) error {
	var written *volumes.WrittenError
	if errors.As(err, &written) || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return &FullError{Need: need, Err: err}
}

// maxNamed is how many tags a message names for one blob. Thousands may share it.
const maxNamed = 10

// someOf lists tags for a message.
func someOf(tags []string) string {
	if more := len(tags) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(tags[:maxNamed], ", "), more)
	}
	return strings.Join(tags, ", ")
}
