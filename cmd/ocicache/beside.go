package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// besideFile is a file that a command writes in addition to its result. Its name must be unused or belong to an older file of the same
// kind, which is replaced.
type besideFile struct {
	path      string
	overwrite *bool
	isOurs    func(head []byte) bool // recognizes files of this kind by their first bytes
	spared    []string               // files that are read, and so never replaced
}

// headSize is how many bytes are enough to recognize a file's kind.
const headSize = 512

// overwriteFlag adds the flag that allows any existing file to be replaced.
func overwriteFlag(cmd *cobra.Command, names string) *bool {
	return cmd.Flags().Bool("overwrite", false, "let "+names+" replace any existing file")
}

// check says whether the file can be written, before there is anything to write.
func (f *besideFile) check() error {
	switch f.path {
	case "":
		return nil
	case "-":
		return &usageError{errors.New("want a FILE, not -: standard output is for the result")}
	}
	if (durable.Output{Path: f.path, Spared: f.spared}).IsSpared() { // --overwrite does not help
		return &durable.OutputTakenError{Path: f.path, Spared: true}
	}
	file, _, err := durable.OpenRegular(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return checkParent(f.path)
	case errors.Is(err, durable.ErrNotRegular):
		return f.checkIrregular()
	case err != nil:
		return err
	}
	if !f.replaces(file) {
		err = &durable.OutputTakenError{Path: f.path}
	}
	return errors.Join(err, file.Close())
}

// checkIrregular fails for a directory. Devices and the like are written to.
func (f *besideFile) checkIrregular() error {
	info, err := os.Stat(f.path)
	if err == nil && info.IsDir() {
		err = &usageError{fmt.Errorf("%s is a directory, not a file", f.path)}
	}
	return err
}

// replaces reports whether a file may be replaced.
func (f *besideFile) replaces(old io.Reader) bool {
	head, err := io.ReadAll(io.LimitReader(old, headSize))
	return *f.overwrite || err == nil && f.isOurs(head)
}

// writeBeside writes a file, if one is wanted, completely or not at all. Nothing that was read is overwritten, and nothing is written
// into it.
func (a *app) writeBeside(ctx context.Context, f *besideFile, content func(io.Writer) error) error {
	if f.path == "" {
		return nil
	}
	for _, c := range a.closers {
		opened, ok := c.(*places.Opened)
		if !ok {
			continue
		}
		if place, ok := opened.Source.(layout.Occupier); ok && place.Occupies(f.path) {
			return &usageError{fmt.Errorf("%s is part of %s, which is being read", f.path, opened.Source)}
		}
	}
	f.spared = append(f.spared, a.inputs...)
	return f.write(ctx, content)
}

// write writes the file, unless it is spared.
func (f *besideFile) write(ctx context.Context, content func(io.Writer) error) error {
	if err := (durable.Output{Path: f.path, Spared: f.spared, Replaces: f.replaces}).Write(ctx, content); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}
