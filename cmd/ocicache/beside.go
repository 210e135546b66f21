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

// besideFile is a file that a command writes beside its result. Its name has to be free, or that of an older file of its kind, which is
// replaced.
type besideFile struct {
	path      string
	overwrite *bool
	isOurs    func(head []byte) bool // tells files of its kind by how they begin
	spared    []string               // what is read, and never replaced
}

// headSize is how much of a file tells its kind.
const headSize = 512

// overwriteFlag adds the flag that lets files be replaced which are none of ours.
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
	if (durable.Output{Path: f.path, Spared: f.spared}).IsSpared() { // which --overwrite does not help
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

// checkIrregular fails for a directory. Devices and the like are written into.
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

// writeBeside writes a file, if there is to be one: it is there as a whole, or what was there before. Nothing that was read is written
// over, nor is anything written into it.
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

// write writes the file, but for what is spared.
func (f *besideFile) write(ctx context.Context, content func(io.Writer) error) error {
	if err := (durable.Output{Path: f.path, Spared: f.spared, Replaces: f.replaces}).Write(ctx, content); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}
