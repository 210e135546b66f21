package durable

import (
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"
)

// NewMode returns the permissions of a new file that would have mode: what the umask leaves of it, as with every program.
// A file that replaces another gets that one's permissions instead. The system can't apply the umask, because temporary
// files are made accessible to nobody else.
func NewMode(mode fs.FileMode) fs.FileMode { return mode &^ umask() }

// umask returns the process's umask, which can only be learned by setting it. That is done once, and with a mask that
// leaves what the process makes elsewhere at that moment closed rather than open.
var umask = sync.OnceValue(func() fs.FileMode {
	mask := unix.Umask(0o077)
	unix.Umask(mask)
	return fs.FileMode(mask) & fs.ModePerm
})
