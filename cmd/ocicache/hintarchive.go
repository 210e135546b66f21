package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/layout"
)

// hintArchive is about archives.
func (a *app) hintArchive(err error) string {
	var (
		missing *archive.MissingError
		exists  *archive.ExistsError
		taken   *archive.ReceiptTakenError
		lost    *archive.VolumesError
		full    *archive.FullError
		stream  *archive.StreamError
	)
	switch {
	case errors.As(err, &full):
		return a.hintFull(full)
	case errors.As(err, &taken):
		return "a receipt can only be a new file or replace an older receipt; choose another name"
	case errors.As(err, &lost):
		return a.hintVolumes(lost)
	case errors.As(err, &missing) && missing.Base == "":
		return "nothing was published; unpack the earlier archives first, or use --base with a place that has the blobs; " +
			"otherwise pack again without --have"
	case errors.As(err, &missing):
		return "nothing was published; unpack the earlier archives first, or pack again without --have"
	case errors.As(err, &exists):
		return hintExists(exists)
	case errors.Is(err, archive.ErrTag):
		return "give them tags first, or choose a tagged one with --tag or oci:DIR:TAG"
	case errors.Is(err, archive.ErrRequired):
		return "the archive leaves out what the far side already has; use --base with a place that has it (can be DST itself)"
	case errors.As(err, &stream):
		return mention(a.unpacking("", pathArgument(stream.File))) + " can read it; for anything else, unpack or decompress it first"
	case errors.Is(err, archive.ErrTooLarge):
		return "if you trust it, decompress it in a pipe: " + a.mentionUnpack("PROGRAM -dc ") + ", where PROGRAM is what compressed it, such as zstd or gzip"
	case errors.Is(err, archive.ErrTruncated), errors.Is(err, archive.ErrDamaged):
		return a.unmoved() + "copy the archive again from an intact original"
	case errors.Is(err, archive.ErrNotArchive):
		return a.hintNotArchive()
	case errors.Is(err, archive.ErrReceipt):
		return "use the receipt exactly as unpack --receipt wrote it"
	}
	return ""
}

// hintFull is about a disk that filled up before an archive was complete.
func (a *app) hintFull(e *archive.FullError) string {
	text := "the disk is full; " + a.nothing()
	if e.Need > 0 {
		text += fmt.Sprintf(", and the archive takes %s", size(e.Need))
	}
	return text + "; free some space and run it again"
}

// nothing says that no archive was written, or none unpacked.
func (a *app) nothing() string {
	if a.running != nil && a.running.Name() == "pack" {
		return "nothing was packed"
	}
	return "nothing was published"
}

// hintNotArchive is about a file that is not an archive, and suggests what was meant if it is part of a layout.
func (a *app) hintNotArchive() string {
	if s, ok := a.argument(0); ok && s.ref.IsLocal() {
		if isReceipt(s.ref.Path) {
			return "this is a receipt, which pack takes with --have"
		}
		for last, dir := "", s.ref.Path; dir != last; last, dir = dir, filepath.Dir(dir) {
			_, err := layout.Open(dir, layout.Options{})
			switch {
			case err != nil:
			case dir == s.ref.Path && a.running.Name() == "unpack":
				return "it is a layout; " + mention(a.repeatedAs("sync")) + " brings its caches there"
			default:
				return "a layout is named by its directory: did you mean " + pathArgument(dir) + "?"
			}
		}
	}
	return "a file is taken for an archive: a tar with an OCI layout in it, as pack writes it; if it is one, its beginning is damaged: copy it again"
}

// isReceipt reports whether a file is a receipt. A file that does not begin like one is not read.
func isReceipt(path string) bool {
	file, _, err := durable.OpenRegular(path)
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // it was only read
	var first [1]byte
	if _, err := file.ReadAt(first[:], 0); err != nil || first[0] != '{' {
		return false
	}
	_, err = archive.ReadReceipt(path)
	return err == nil
}

// mentionUnpack names the command that unpacks what the running command reads, in a pipe if a program has to decompress it first.
func (a *app) mentionUnpack(decompress string) string {
	file := "FILE"
	if s, ok := a.argument(0); ok && s.ref.IsLocal() {
		file = pathArgument(s.ref.Path)
	}
	return mention(a.unpacking(decompress, file))
}

// unpacking is the command that unpacks file, which is already quoted for a shell.
func (a *app) unpacking(decompress, file string) string {
	dir := "DIR"
	if a.running != nil && a.running.Name() == "unpack" && a.running.Flags().NArg() > 1 {
		dir = quoted(a.running.Flags().Arg(a.running.Flags().NArg() - 1))
	}
	if decompress != "" {
		return decompress + file + " | ocicache unpack - " + dir
	}
	return "ocicache unpack " + file + " " + dir
}

// hintExists is about names that are already taken.
func hintExists(e *archive.ExistsError) string {
	switch {
	case e.InOneFile:
		return "volumes don't replace an archive in one file, not even with --overwrite; move it away first, or choose another FILE"
	case e.Overwrite:
		return "--overwrite only replaces FILE itself, or volumes that an intact FILE.SHA256SUMS proves to be ocicache's; move these files away, " +
			"or choose another FILE"
	case len(e.Names) == 1:
		return "to replace it, if it is an archive, use --overwrite"
	default:
		return "to replace them, if they are an archive of that name, use --overwrite"
	}
}

// maxVolumesNamed is the most volumes that a hint names.
const maxVolumesNamed = 8

// hintVolumes says which volumes are needed, and of a command that writes, that it wrote nothing.
func (a *app) hintVolumes(e *archive.VolumesError) string {
	wanted := a.wantedVolumes(e)
	if wanted == "" || a.running == nil || a.running.Flags().Lookup("dry-run") == nil {
		return wanted
	}
	return a.nothing() + "; " + wanted
}

// hintLone is about volumes of an archive with nothing that says how many there are.
func (a *app) hintLone(e *archive.VolumesError) string {
	together := fmt.Sprintf("put all of its volumes, %s.*, in one directory: %s", quoted(filepath.Base(e.File)), quoted(filepath.Dir(e.File)))
	if a.running == nil {
		return together
	}
	args := slices.Clone(a.running.Flags().Args())
	for i, arg := range args {
		args[i] = strings.Replace(arg, e.File+filepath.Ext(arg), e.File, 1)
	}
	args = slices.CompactFunc(args, func(one, other string) bool { return one == e.File && other == e.File })
	return together + "; then run: " + a.commandLine(a.running.CommandPath(), args, func(*pflag.Flag) bool { return false })
}

// wantedVolumes says how many more volumes are enough, and which ones.
func (a *app) wantedVolumes(e *archive.VolumesError) string {
	if len(e.There) > 0 {
		return a.hintLone(e)
	}
	if e.OtherList != "" {
		return fmt.Sprintf("put the list of these volumes in the place of %s; if it is lost, move %s away: the volumes are read without a list, too",
			quoted(e.OtherList), quoted(e.OtherList))
	}
	if e.Lost == 0 {
		return ""
	}
	var which []string
	for _, problem := range e.Volumes {
		if !strings.HasSuffix(problem.Name, ".SHA256SUMS") {
			which = append(which, quoted(problem.Name))
		}
	}
	if more := len(which) - maxVolumesNamed; more > 0 {
		which = append(which[:maxVolumesNamed], fmt.Sprintf("%d more", more))
	}
	if enough := e.Lost - e.Rebuild; enough < len(which) {
		return fmt.Sprintf("restore any %d of these: %s", enough, strings.Join(which, ", "))
	}
	return "restore all of these: " + strings.Join(which, ", ")
}
