package durable

import (
	"os"
	"syscall"
)

// Room returns the most bytes that may still be written below a directory. known is false if the system does not say.
func Room(dir string) (free int64, known bool) { return room(dir) }

// MayShare reports whether a file below one directory and its copy below another may share their bytes: then copying
// needs no room.
func MayShare(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	if err != nil {
		return false
	}
	one, ok := first.Sys().(*syscall.Stat_t)
	other, also := second.Sys().(*syscall.Stat_t)
	return ok && also && one.Dev == other.Dev && sharesBytes(a)
}
