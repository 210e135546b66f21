package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"time"
)

const (
	// tarBlock is the block size of a tar, in bytes.
	tarBlock = 512
	// entryMode is the mode of every entry.
	entryMode = 0o444
)

// tarHeader returns what precedes an entry's bytes: one block, or three if the name or the size needs PAX. The same name
// and size give the same bytes.
func tarHeader(name string, size int64) ([]byte, error) {
	var head bytes.Buffer
	err := tar.NewWriter(&head).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: entryMode, ModTime: time.Unix(0, 0),
	})
	if err != nil {
		return nil, fmt.Errorf("tar entry %s: %w", name, err)
	}
	return head.Bytes(), nil
}

// tarPadding returns how many zeros follow size bytes of an entry.
func tarPadding(size int64) int64 { return -size & (tarBlock - 1) }

// tarWriter writes entries, and keeps track of the offset.
type tarWriter struct {
	w      io.Writer
	offset int64
}

// Write writes bytes of the entry.
func (t *tarWriter) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.offset += int64(n)
	return n, err
}

// begin writes what precedes the bytes of an entry.
func (t *tarWriter) begin(name string, size int64) error {
	head, err := tarHeader(name, size)
	if err != nil {
		return err
	}
	_, err = t.Write(head)
	return err
}

// end writes what follows the bytes of an entry.
func (t *tarWriter) end(size int64) error {
	var zeros [tarBlock]byte
	_, err := t.Write(zeros[:tarPadding(size)])
	return err
}

// finish ends the tar, with two blocks of zeros and no padding to a full tape record.
func (t *tarWriter) finish() error {
	var zeros [endSize]byte
	_, err := t.Write(zeros[:])
	return err
}
