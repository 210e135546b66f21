package layout

import (
	"fmt"
	"syscall"

	"github.com/ocicache/ocicache/internal/durable"
)

// Roomy is a Sink that can tell whether it has room.
type Roomy interface {
	// CheckRoom fails with a *RoomError if that many bytes of blobs of src, nil for any source, certainly won't fit.
	CheckRoom(src Source, bytes int64) error
}

// RoomError says that a disk doesn't have enough room for what is known to be coming. Nothing has been written. It is a
// syscall.ENOSPC.
type RoomError struct {
	Path       string
	Need, Free int64 // in bytes
}

func (e *RoomError) Error() string {
	return fmt.Sprintf("%s: %v: %d bytes needed, %d free", e.Path, syscall.ENOSPC, e.Need, e.Free)
}

// Is implements errors.Is for syscall.ENOSPC.
func (e *RoomError) Is(target error) bool { return target == syscall.ENOSPC }

// CheckRoom fails with a *RoomError if that many bytes don't fit on the disk of a directory.
func CheckRoom(dir string, bytes int64) error {
	if free, known := durable.Room(dir); known && bytes > free {
		return &RoomError{Path: dir, Need: bytes, Free: free}
	}
	return nil
}

// CheckRoom fails with a *RoomError if that many bytes of blobs of src don't fit. Blobs that may be linked, or share their bytes,
// always do.
func (d *Dir) CheckRoom(src Source, bytes int64) error {
	if from, ok := src.(*Dir); ok && (d.options.Link || durable.MayShare(from.path, d.path)) {
		return nil
	}
	return CheckRoom(d.path, bytes)
}

// CheckRoomAt is Dir.CheckRoom for a layout that may not exist yet.
func CheckRoomAt(path string, options Options, src Source, bytes int64) error {
	at, _, err := existing(path)
	if err != nil {
		return nil //nolint:nilerr // then it is not known
	}
	return newDir(at, nil, options).CheckRoom(src, bytes)
}
