package durable

import (
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"
)

// NewMode returns the permissions of a new file that would have mode: what the umask leaves of it, as with every program.
// A file that takes the place of another keeps the other's permissions instead. Temporary files are nobody else's, so the
// system can't see to it.
func NewMode(mode fs.FileMode) fs.FileMode { return mode &^ umask() }

// umask returns the process's umask, which can only be learned by setting it. It is done once, and what somebody else makes
// in that moment is closed rather than open.
var umask = sync.OnceValue(func() fs.FileMode {
	mask := unix.Umask(0o077)
	unix.Umask(mask)
	return fs.FileMode(mask) & fs.ModePerm
})
