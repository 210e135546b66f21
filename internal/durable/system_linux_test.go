package durable

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestRoomOfRoot counts what a file system keeps back for root as room for him, and for nobody else.
func TestRoomOfRoot(t *testing.T) {
	t.Parallel()
	disk := unix.Statfs_t{Bsize: 4096, Blocks: 100, Bfree: 30, Bavail: 25}
	if got := roomIn(disk, 0); got != 30*4096 {
		t.Errorf("root has room for %d bytes", got)
	}
	if got := roomIn(disk, 1000); got != 25*4096 {
		t.Errorf("others have room for %d bytes", got)
	}
}
