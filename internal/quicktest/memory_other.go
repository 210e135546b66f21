//go:build !linux

package quicktest

// memory returns nothing: only Linux always has such a directory.
func memory() string { return "" }
