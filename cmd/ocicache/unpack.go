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
		Short: "Bring an archive into a layout, once everything is known to be there",
		Long: `Bring the caches and images of an archive into a layout directory. Before anything is written it is made sure that all
is there: the volumes, and the blobs that the archive was packed without, which DIR or --base must have. What is missing
is listed, all of it, with exit status 4. Then blobs are verified into DIR, and the tags move last. An interrupted unpack,
run again, goes on.

FILE is the archive, its name without .001, or any of its volumes, recovery volumes and lists. Archives of others are
taken as well: BuildKit's type=oci, skopeo's oci-archive, oras backup, regctl image export, and tar of a cache directory;
also compressed with gzip or zstd. Of these, where they come as a stream, what is missing is known at the end only.`,
		Example: `  ocicache unpack /media/cache.tar ./cache --receipt /media/receipt.json
  ocicache unpack /media/cache.tar.0* ./cache
  ssh build ocicache pack ./cache - | ocicache unpack - ./cache`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runUnpack(cmd.Context(), flags, args) },
	}
	cmd.Flags().StringVar(&flags.base, "base", "", baseUsage)
	cmd.Flags().StringVar(&flags.receipt, "receipt", "", "write what DIR holds then to this file, for the next 'pack --have'")
	cmd.Flags().StringVar(&flags.tag, "tag", "", "unpack this tag alone; a root without a tag is called so")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "say what would be done, and write nothing")
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
	files, dst, err := parseUnpack(flags, args)
	if err != nil {
		return err
	}
	options := archive.UnpackOptions{DryRun: flags.dryRun, Jobs: a.jobs, Tag: flags.tag}
	if flags.tag != "" {
		options.Tags = func(tag string) bool { return tag == flags.tag }
	}
	if flags.base != "" {
		base, err := parse(flags.base, "")
		if err != nil {
			return err
		}
		opened, err := a.open(ctx, base, "", flags.registry.options(either))
		if err != nil {
			return fmt.Errorf("--base: %w", err)
		}
		options.Base = opened.Source
	}
	dir, err := layout.Open(dst.Path, a.layoutOptions())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrNotLayout) {
		dir = nil // to be made, or refused, in its time
	} else if err != nil {
		return err
	}
	options.Create = func(ctx context.Context) (_ *layout.Dir, err error) {
		if dir, err = layout.Create(ctx, dst.Path, a.layoutOptions()); err != nil {
			return nil, fmt.Errorf("make the layout %s: %w", dst.Path, err)
		}
		return dir, nil
	}
	handler, stop := a.show()
	options.OnEvent = handler
	done, err := a.unpack(ctx, files, dir, options)
	stop()
	if err != nil {
		return err
	}
	result := unpackResult{Destination: dst.Path, UnpackResult: done}
	if flags.receipt != "" && !flags.dryRun {
		if result.Receipt, err = a.writeReceipt(ctx, flags.receipt, dir, done); err != nil {
			return err
		}
	}
	return a.write(result, result.render)
}

// parseUnpack reads FILE... and DIR. A tag that comes with FILE counts as --tag.
func parseUnpack(flags *unpackFlags, args []string) (files []string, dst layout.Reference, err error) {
	last := len(args) - 1
	if dst, err = parse(args[last], ""); err != nil {
		return nil, dst, err
	}
	if dst.Transport != layout.TransportPath && dst.Transport != layout.TransportLayout || dst.Tag != "" {
		return nil, dst, &usageError{fmt.Errorf("%s: DIR is a layout directory, and tags stay as they are", args[last])}
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
				return nil, dst, &usageError{errors.New("standard input (-) is an archive of its own, and goes with no other FILE")}
			}
			files = append(files, text)
		default:
			return nil, dst, &usageError{fmt.Errorf("%s: FILE is an archive", text)}
		}
	}
	return files, dst, nil
}

// unpack unpacks the archive in files: at any place in it at once, or from front to back where it can't be otherwise.
func (a *app) unpack(ctx context.Context, files []string, dst *layout.Dir, o archive.UnpackOptions) (*archive.UnpackResult, error) {
	if files[0] == string(layout.TransportStream) {
		if term.IsTerminal(int(os.Stdin.Fd())) {
			return nil, &usageError{errors.New("standard input is a terminal; an archive is wanted there")}
		}
		return archive.UnpackStream(ctx, os.Stdin, "standard input", dst, o)
	}
	opened, err := archive.Open(ctx, files, archive.OpenOptions{})
	switch {
	case errors.Is(err, archive.ErrStream):
		return unpackStream(ctx, files[0], dst, o)
	case errors.Is(err, fs.ErrNotExist) && len(files) == 1:
		return nil, &places.NotThereError{Path: files[0]}
	case err != nil:
		return nil, err
	}
	a.closers = append(a.closers, opened)
	return archive.Unpack(ctx, opened, dst, o)
}

func unpackStream(ctx context.Context, path string, dst *layout.Dir, o archive.UnpackOptions) (result *archive.UnpackResult, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return archive.UnpackStream(ctx, file, path, dst, o)
}

func (a *app) writeReceipt(ctx context.Context, path string, dir *layout.Dir, done *archive.UnpackResult) (*receiptResult, error) {
	receipt, notes, err := archive.NewReceipt(ctx, dir, done, a.jobs)
	if err != nil {
		return nil, fmt.Errorf("the archive is unpacked, but there is no receipt: %w", err)
	}
	if err := archive.WriteReceipt(ctx, path, receipt, a.layoutOptions()); err != nil {
		return nil, fmt.Errorf("the archive is unpacked, but there is no receipt: %w", err)
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
			what = "this would be unpacked, nothing was written"
		}
		fmt.Fprintf(w, "%s, tag %s: %s\n", r.Destination, tag.Tag, what)
		fmt.Fprintf(w, "  %s  %s%s\n", tag.Kind, tag.Digest, wasText(tag.Was, tag.Digest))
	}
	fmt.Fprintf(w, "blobs: %s\n", r.blobsLine())
	if r.PassedOver > 0 {
		fmt.Fprintf(w, "passed over, because they are no part of a layout: %s\n", count(r.PassedOver, "file"))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	if r.Receipt != nil {
		fmt.Fprintf(w, "receipt: %s, %s, %s\n", r.Receipt.Path, count(r.Receipt.Blobs, "blob"), size(r.Receipt.Bytes))
		for _, note := range r.Receipt.Notes {
			fmt.Fprintf(w, "note: %s\n", note)
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

// blobsLine says what became of the blobs.
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
		{r.Present, "there already"},
		{r.Unneeded, "in the archive that no chosen tag needs"},
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
