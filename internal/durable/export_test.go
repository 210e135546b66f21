package durable

import "os"

var TryLock = tryLock

// Adopt gives a file to the owner of the directory dir.
func Adopt(file *os.File, dir string) error { return (&Dir{path: dir}).adopt(file) }

// Names is Dir.Names for a path.
func Names(dir, name string, file *os.File) bool { return (&Dir{path: dir}).Names(name, file) }
