//go:build !linux

package durable

import (
	"errors"
	"os"
)

// reflink is not possible between open files here.
func reflink(_, _ *os.File) error { return errors.ErrUnsupported }

// linkOpen is not possible here.
func linkOpen(_ *os.File, _ int, _ string) error { return errors.ErrUnsupported }

// renameNew is not possible here.
func renameNew(_, _ string) error { return errors.ErrUnsupported }

// room is not known here.
func room(string) (free int64, known bool) { return 0, false }

func sharesBytes(string) bool { return true }
