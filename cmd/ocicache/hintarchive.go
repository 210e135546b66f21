package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ocicache/ocicache/archive"
)

// hintArchive is about archives.
func (a *app) hintArchive(err error) string {
	var (
		missing *archive.MissingError
		exists  *archive.ExistsError
		taken   *archive.ReceiptTakenError
		lost    *archive.VolumesError
	)
	switch {
	case errors.As(err, &taken):
		return "a receipt takes a free name, or that of an older receipt; choose another one"
	case errors.As(err, &lost):
		return a.hintVolumes(lost)
	case errors.As(err, &missing) && missing.Base == "":
		return "nothing was published; unpack the archives before this one first, or name a layout, an archive or a repository that has the " +
			"blobs with --base; else pack again without --have"
	case errors.As(err, &missing):
		return "nothing was published; unpack the archives before this one first, or pack again without --have"
	case errors.As(err, &exists):
		return hintExists(exists)
	case errors.Is(err, archive.ErrTag):
		return "give them tags first, or choose one that has a tag with --tag or oci:DIR:TAG"
	case errors.Is(err, archive.ErrRequired):
		return "the archive was packed without what the far side has; name that with --base: a layout, an archive or a repository, DST itself if it has it"
	case errors.Is(err, archive.ErrStream):
		return "'ocicache unpack' takes it; for everything else unpack or decompress it first"
	case errors.Is(err, archive.ErrTooLarge):
		return "if it is to be trusted, decompress it in a pipe: zstd -dc FILE | ocicache unpack - DIR"
	case errors.Is(err, archive.ErrTruncated), errors.Is(err, archive.ErrDamaged):
		return a.unmoved() + "copy the archive again from where it is whole"
	case errors.Is(err, archive.ErrReceipt):
		return "a receipt counts only as 'ocicache unpack --receipt' wrote it"
	}
	return ""
}

// hintExists is about names that are taken.
func hintExists(e *archive.ExistsError) string {
	switch {
	case e.Overwrite:
		return "only FILE itself, and volumes that a whole FILE.SHA256SUMS proves to be ours, are replaced, each by its like or volumes by " +
			"FILE; move these away, or choose another FILE"
	case len(e.Names) == 1:
		return "--overwrite replaces it, where it is an archive"
	default:
		return "--overwrite replaces them, where they are an archive of that name"
	}
}

// maxVolumesNamed is how many volumes a hint names.
const maxVolumesNamed = 8

// hintVolumes says which volumes are wanted, and of a command that would have written something that it did not.
func (a *app) hintVolumes(e *archive.VolumesError) string {
	wanted := wantedVolumes(e, a.running != nil && a.running.Name() == "unpack")
	if wanted == "" || a.running == nil || a.running.Flags().Lookup("dry-run") == nil {
		return wanted
	}
	if a.running.Name() == "pack" {
		return "nothing was packed; " + wanted
	}
	return "nothing was published; " + wanted
}

// wantedVolumes says how many more volumes are enough, and which. Some commands take several files.
func wantedVolumes(e *archive.VolumesError, several bool) string {
	if len(e.There) > 0 && several {
		return "lay all of its volumes into one directory, or name them all: " + filepath.Base(e.File) + ".*"
	}
	if len(e.There) > 0 {
		return "lay all of its volumes into one directory: " + filepath.Base(e.File) + ".*"
	}
	if e.Lost == 0 {
		return ""
	}
	var which []string
	for _, problem := range e.Volumes {
		if !strings.HasSuffix(problem.Name, ".SHA256SUMS") {
			which = append(which, problem.Name)
		}
	}
	if more := len(which) - maxVolumesNamed; more > 0 {
		which = append(which[:maxVolumesNamed], fmt.Sprintf("%d more", more))
	}
	if enough := e.Lost - e.Rebuild; enough < len(which) {
		return fmt.Sprintf("bring any %d of these: %s", enough, strings.Join(which, ", "))
	}
	return "bring all of these: " + strings.Join(which, ", ")
}
