package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// unpackFlags are the flags of unpack.
type unpackFlags struct {
	base, receipt, tag string
	dryRun             bool
	registry           *registryFlags
}

func (a *app) unpackCommand() *cobra.Command {
	flags := &unpackFlags{}
	cmd := &cobra.Command{
		Use:   "unpack FILE...|- DIR",
		Short: "Unpack an archive into a layout, after checking that it is complete",
		Long: `Unpack the caches and images of an archive into a layout directory. Before anything is written, unpack checks that everything is
there: the volumes, and the blobs that the archive leaves out, which DIR or --base must have. If anything is missing, all of it is
listed, and the exit status is 4. Then blobs are verified and written to DIR, and the tags move last. To continue an interrupted
unpack, run it again.

FILE is the archive, its name without .001, or any of its volumes, recovery volumes and lists. Archives from other programs work
too: BuildKit's type=oci, skopeo's oci-archive, oras backup, regctl image export, and a tar of a cache directory, also
compressed. If one of these comes as a stream, missing parts are only found at the end.

--receipt writes a list of everything that the tags of DIR reach, whether it came from this archive or was there before, and hashes
every blob of it. The file must be new, or an older receipt, and outside of DIR.`,
		Example: `  ocicache unpack /media/cache.tar ./cache --receipt /media/receipt.json
  ocicache unpack /media/cache.tar.0* ./cache
  ssh build ocicache pack ./cache - | ocicache unpack - ./cache`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runUnpack(cmd.Context(), flags, args) },
	}
	cmd.Flags().StringVar(&flags.base, "base", "", baseUsage)
	cmd.Flags().StringVar(&flags.receipt, "receipt", "", "write a list of everything in DIR to this `FILE`, each blob hashed, for the next 'pack --have'")
	cmd.Flags().StringVar(&flags.tag, "tag", "", "unpack only this `TAG`; if the root has no tag, give it this one")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "show what would be done, and write nothing")
	flags.registry = addRegistryFlags(cmd)
	return cmd
}

// unpackResult is what unpack writes with --json.
type unpackResult struct {
	Destination string `json:"destination"`
	*archive.UnpackResult
	Receipt *receiptResult `json:"receipt,omitempty"`
}

// receiptResult is about the receipt that was written.
type receiptResult struct {
	Path string `json:"path"`
	archive.Count
	Notes []string `json:"notes,omitempty"`
}

func (a *app) runUnpack(ctx context.Context, flags *unpackFlags, args []string) error {
	files, dst, err := a.parseUnpack(flags, args)
	if err != nil {
		return err
	}
	if err := flags.registry.check(); err != nil {
		return err
	}
	options, err := a.unpackOptions(ctx, flags)
	if err != nil {
		return err
	}
	dir, err := layout.Open(dst.Path, a.layoutOptions())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrNotLayout) {
		dir = nil // made or refused later
	} else if err != nil {
		return err
	}
	options.Create = func(ctx context.Context) (_ *layout.Dir, err error) {
		if flags.dryRun {
			return nil, layout.CheckCreate(dst.Path)
		}
		if dir, err = layout.Create(ctx, dst.Path, a.layoutOptions()); err != nil {
			return nil, fmt.Errorf("make the layout %s: %w", dst.Path, err)
		}
		a.mayUnmake(dir)
		return dir, nil
	}
	ready := func(archives ...layout.Source) error {
		if options.Base != nil {
			archives = append(archives, options.Base)
		}
		return checkReceipt(ctx, flags.receipt, dst.Path, archives...)
	}
	handler, stop := a.show()
	options.OnEvent = handler
	done, err := a.unpack(ctx, files, dir, options, ready)
	stop()
	if err != nil {
		return unpublished(err)
	}
	result := unpackResult{Destination: dst.Path, UnpackResult: done}
	done.Notes = append(done.Notes, a.roomNotes(flags.dryRun, dst.Path, options.Base, done.Written.Bytes+done.FromBase.Bytes)...)
	if flags.receipt != "" && !flags.dryRun {
		if result.Receipt, err = a.writeReceipt(ctx, flags.receipt, dir, done); err != nil {
			return err
		}
	}
	return a.write(result, result.render)
}

// unpackOptions converts the flags to options, and opens the base.
func (a *app) unpackOptions(ctx context.Context, flags *unpackFlags) (archive.UnpackOptions, error) {
	options := archive.UnpackOptions{DryRun: flags.dryRun, Jobs: a.jobs, Tag: flags.tag}
	if flags.tag != "" {
		options.Tags = func(tag string) bool { return tag == flags.tag }
	}
	if flags.base == "" {
		return options, nil
	}
	base, err := parse(flags.base, "")
	if err != nil {
		return options, err
	}
	opened, err := a.open(ctx, base, "", flags.registry.options(either))
	if err != nil {
		return options, fmt.Errorf("--base: %w", err)
	}
	options.Base = opened.Source
	return options, nil
}

// parseUnpack reads FILE... and DIR. A tag given with FILE counts as --tag.
func (a *app) parseUnpack(flags *unpackFlags, args []string) (files []string, dst layout.Reference, err error) {
	last := len(args) - 1
	if dst, err = parseDestination(args[last]); err != nil {
		return nil, dst, err
	}
	if dst.IsFar() {
		err = fmt.Errorf("%s: DIR must be a layout directory; unpack does not send anything to a registry", dst)
		return nil, dst, &usageError{&wordError{err, a.sendsArchive(args[:last], dst)}}
	}
	if dst.Transport != layout.TransportPath && dst.Transport != layout.TransportLayout || dst.Tag != "" {
		return nil, dst, &usageError{fmt.Errorf("%s: DIR must be a layout directory, without a tag; tags stay as they are", args[last])}
	}
	if err := places.CheckName(dst); err != nil {
		return nil, dst, &usageError{err}
	}
	if info, err := os.Stat(dst.Path); err == nil && !info.IsDir() {
		return nil, dst, &usageError{fmt.Errorf("%s is a file; the last argument is the DIR to unpack to", dst.Path)}
	}
	for _, text := range args[:last] {
		ref, err := parse(text, flags.tag)
		if err != nil {
			return nil, dst, err
		}
		switch ref.Transport {
		case layout.TransportPath, layout.TransportArchive:
			files = append(files, ref.Path)
			flags.tag = ref.Tag
		case layout.TransportStream:
			if last > 1 {
				return nil, dst, &usageError{errors.New("standard input (-) is a whole archive, so no other FILE can be given")}
			}
			files = append(files, text)
		default:
			return nil, dst, &usageError{fmt.Errorf("%s: FILE must be an archive", text)}
		}
	}
	return files, dst, nil
}

// sendsArchive says how the caches of an archive come to a registry.
func (a *app) sendsArchive(files []string, to layout.Reference) string {
	file, name, what := "FILE", "sync", " brings the caches of the archive there"
	if len(files) == 1 && files[0] != string(layout.TransportStream) {
		file = files[0]
	}
	if to.Tag != "" {
		name, what = "copy", " brings a cache of the archive there"
	}
	return mention(a.repeatedWith(name, []string{file, to.String()})) + what
}

// checkReceipt fails if the receipt could not be written in the end, before anything else is done. With path "", there is
// none.
func checkReceipt(ctx context.Context, path, dir string, sources ...layout.Source) error {
	if path == "" {
		return nil
	}
	if !layout.IsWithin(path, dir) { // inside is refused, and the directory may still be made
		if err := checkParent(path); err != nil {
			return err
		}
	}
	return archive.CheckReceipt(ctx, path, dir, sources...)
}

// unpack unpacks the archive in files, with random access if possible, else from front to back. Before that it calls ready,
// with the archive if that can be inspected.
func (a *app) unpack(
	ctx context.Context, files []string, dst *layout.Dir, o archive.UnpackOptions, ready func(...layout.Source) error,
) (*archive.UnpackResult, error) {
	if files[0] == string(layout.TransportStream) {
		if term.IsTerminal(int(os.Stdin.Fd())) {
			return nil, &usageError{errors.New("standard input is a terminal; pipe an archive into it")}
		}
		if err := ready(); err != nil {
			return nil, err
		}
		return archive.UnpackStream(ctx, os.Stdin, "standard input", dst, o)
	}
	opened, err := archive.Open(ctx, files, archive.OpenOptions{})
	switch {
	case errors.Is(err, archive.ErrStream):
		if err := ready(); err != nil {
			return nil, err
		}
		return unpackStream(ctx, files[0], dst, o)
	case errors.Is(err, fs.ErrNotExist) && len(files) == 1:
		return nil, &places.NotThereError{Path: files[0]}
	case err != nil:
		return nil, err
	}
	a.closers = append(a.closers, opened)
	if err := ready(opened); err != nil {
		return nil, err
	}
	return archive.Unpack(ctx, opened, dst, o)
}

func unpackStream(ctx context.Context, path string, dst *layout.Dir, o archive.UnpackOptions) (result *archive.UnpackResult, err error) {
	file, err := openWaiting(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return archive.UnpackStream(ctx, file, path, dst, o)
}

// openWaiting opens a file for reading. A FIFO keeps it waiting for a writer, until ctx is done.
func openWaiting(ctx context.Context, path string) (*os.File, error) {
	var file *os.File
	done := make(chan error, 1)
	go func() {
		var err error
		file, err = os.Open(path)
		done <- err
	}()
	select {
	case err := <-done:
		return file, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (a *app) writeReceipt(ctx context.Context, path string, dir *layout.Dir, done *archive.UnpackResult) (*receiptResult, error) {
	receipt, notes, err := archive.NewReceipt(ctx, dir, done, a.jobs)
	if err != nil {
		return nil, fmt.Errorf("the archive is unpacked, but the receipt was not written: %w", err)
	}
	if err := archive.WriteReceipt(ctx, path, receipt, a.layoutOptions()); err != nil {
		return nil, fmt.Errorf("the archive is unpacked, but the receipt was not written: %w", err)
	}
	result := &receiptResult{Path: path, Notes: notes}
	for _, blob := range receipt.Blobs {
		result.Blobs++
		result.Bytes += blob.Size
	}
	return result, nil
}

func (r unpackResult) render(w io.Writer) error {
	for _, tag := range r.Tags {
		what := "unpacked"
		switch {
		case tag.Was == tag.Digest:
			what = "nothing to do"
		case r.DryRun:
			what = "dry run, nothing was written"
		}
		say(w, "%s, tag %s: %s\n", r.Destination, tag.Tag, what)
		say(w, "  %s  %s%s\n", tag.Kind, tag.Digest, wasText(tag.Was, tag.Digest))
		if tag.Kind == layout.KindCache {
			place := layout.Reference{Transport: layout.TransportPath, Path: r.Destination}
			sayImport(w, "it", importOf(place, tag.Tag, tag.Digest), !r.DryRun || tag.Was == tag.Digest)
		}
	}
	say(w, "blobs: %s\n", r.blobsLine())
	if r.PassedOver > 0 {
		say(w, "skipped because they are not part of a layout: %s\n", count(r.PassedOver, "file"))
	}
	for _, note := range r.Notes {
		say(w, "note: %s\n", note)
	}
	if r.Receipt != nil {
		say(w, "receipt: %s, %s, %s\n", r.Receipt.Path, count(r.Receipt.Blobs, "blob"), size(r.Receipt.Bytes))
		for _, note := range r.Receipt.Notes {
			say(w, "note: %s\n", note)
		}
	}
	return nil
}

// wasText says what a tag named before.
func wasText(was, now digest.Digest) string {
	if was == "" || was == now {
		return ""
	}
	return ", was " + was.String()
}

// blobsLine says what happened to the blobs.
func (r unpackResult) blobsLine() string {
	written := "written"
	if r.DryRun {
		written = "to be written"
	}
	var parts []string
	for _, part := range []struct {
		archive.Count
		words string
	}{
		{r.Written, written},
		{r.FromBase, written + " from the base"},
		{r.Present, "already there"},
		{r.Unneeded, "in the archive but not needed by any chosen tag"},
	} {
		if part.Blobs > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (%s)", part.Blobs, part.words, size(part.Bytes)))
		}
	}
	if len(parts) == 0 {
		return english.Plural(0, "blob", "")
	}
	return strings.Join(parts, ", ")
}
