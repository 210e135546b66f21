package places

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// NotThereError says that nothing is where a reference points.
type NotThereError struct {
	Path string
	// Meant is the reference that was probably meant, such as oci:DIR:TAG, as a bare path is never cut at a colon; "" if
	// nothing can be guessed.
	Meant string
	// Short says that the reference has only the beginning of a digest. Meant has all of it, if only one digest there begins so.
	Short bool
}

func (e *NotThereError) Error() string { return e.Path + ": no such file or directory" }

// Unwrap returns fs.ErrNotExist.
func (e *NotThereError) Unwrap() error { return fs.ErrNotExist }

// NotWritableError says that a place can only be written as a whole, not changed.
type NotWritableError struct{ Reference layout.Reference }

func (e *NotWritableError) Error() string {
	return fmt.Sprintf("%s: an archive can't be written to here", e.Reference)
}

// IsFileError says that there is a file where a layout was to be made.
type IsFileError struct{ Path string }

func (e *IsFileError) Error() string { return e.Path + ": is a file, not a layout" }

// HostError says that nothing is at a bare path, and that it begins like the name of a host.
type HostError struct{ Path string }

func (e *HostError) Error() string {
	return fmt.Sprintf("%s: no such file or directory, and it looks like the name of a registry", e.Path)
}

// Unwrap returns layout.ErrReference.
func (e *HostError) Unwrap() error { return layout.ErrReference }

// notThere returns what is wrong with a reference to nothing.
func notThere(ref layout.Reference) error {
	if err := checkAddress(ref); err != nil {
		return err
	}
	if ref.Transport == layout.TransportPath && isLikeHost(ref.Path) && !beginsThere(ref.Path) {
		return &HostError{Path: ref.Path}
	}
	if meant, ok := meantByDigest(ref); ok {
		return &NotThereError{Path: ref.Path, Meant: meant, Short: true}
	}
	return &NotThereError{Path: ref.Path, Meant: meantWithTag(ref)}
}

// isLikeHost reports whether a path begins like host/repository or host:port/repository: what is before the first
// slash has a dot or a port in it, or is localhost.
func isLikeHost(path string) bool {
	host, rest, _ := strings.Cut(path, "/")
	if rest == "" || host == "." || host == ".." {
		return false
	}
	return layout.IsHost(host)
}

// checkAddress refuses a bare path to nothing that looks like the address of a registry with a password or a query in it, which
// the error does not show.
func checkAddress(ref layout.Reference) error {
	const scheme = "docker://"
	if ref.Transport != layout.TransportPath || !strings.ContainsAny(ref.Path, ":?") || beginsThere(ref.Path) {
		return nil
	}
	_, err := layout.ParseReference(scheme + ref.Path)
	var spelling *layout.SpellingError
	if !errors.As(err, &spelling) || !spelling.Secret || !isLikeHost(strings.TrimPrefix(spelling.Meant, scheme)) {
		return nil
	}
	spelling.Text = strings.TrimPrefix(spelling.Text, scheme)
	return spelling
}

// CheckName returns what is wrong with the name of a place to write to, as far as that can be told before it is opened: nothing
// is there, and the name begins like that of a registry, or is meant for an archive or has a tag. It then fails as Create does.
func CheckName(ref layout.Reference) error {
	if _, err := os.Stat(ref.Path); !isDir(ref) || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var none *NotThereError
	if err := notThere(ref); !errors.As(err, &none) {
		return err
	}
	return checkNew(ref)
}

// checkNew refuses names for a new layout that are meant for something else: the name of an archive, or one with a tag after a
// colon. A name that begins with a dot or a slash is meant as it is.
func checkNew(ref layout.Reference) error {
	if ref.Transport != layout.TransportPath || strings.HasPrefix(ref.Path, ".") || strings.HasPrefix(ref.Path, "/") {
		return nil
	}
	if err := checkAddress(ref); err != nil {
		return err
	}
	meant := layout.Reference{Transport: layout.TransportArchive, Path: ref.Path}
	for _, end := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst"} {
		if strings.HasSuffix(ref.Path, end) {
			return &layout.SpellingError{Text: ref.Path, Meant: meant.String()}
		}
	}
	if path, tag, ok := strings.Cut(ref.Path, ":"); ok && path != "" && layout.CheckTag(tag) == nil {
		meant := layout.Reference{Transport: layout.TransportLayout, Path: path, Tag: tag}
		return &layout.SpellingError{Text: ref.Path, Meant: meant.String()}
	}
	return nil
}

// beginsThere reports whether the first part of a path exists.
func beginsThere(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	_, err := os.Stat(first)
	return err == nil
}

// shownDigits is how many digits of a digest are shown in lists.
const shownDigits = 12

// meantByDigest returns oci:./cache@sha256:… for ./cache@56533cd2330c if exactly one blob there begins so, and reports whether
// a digest was meant. If no blob begins so, it may be a tag, unless it has as many digits as lists show.
func meantByDigest(ref layout.Reference) (meant string, ok bool) {
	dir, begin, _ := strings.Cut(ref.Path, "@")
	begin = strings.TrimPrefix(begin, "sha256:")
	if ref.Tag != "" || ref.Transport == layout.TransportArchive || len(begin) < 7 || strings.Trim(begin, "0123456789abcdef") != "" {
		return "", false
	}
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if err != nil {
		return "", false
	}
	blobs = slices.DeleteFunc(blobs, func(e fs.DirEntry) bool { return !strings.HasPrefix(e.Name(), begin) })
	if len(blobs) != 1 {
		return "", len(blobs) > 1 || len(begin) == shownDigits
	}
	root := digest.NewDigestFromEncoded(digest.SHA256, blobs[0].Name())
	return layout.Reference{Transport: layout.TransportLayout, Path: dir, Digest: root}.String(), true
}

// meantWithTag returns oci:./cache:v1 for the bare path ./cache:v1 and for oci:./cache@v1, if that is not there but ./cache is.
func meantWithTag(ref layout.Reference) string {
	if dir, tag, ok := strings.Cut(ref.Path, "@"); ok && ref.Transport == layout.TransportLayout && ref.Tag == "" && layout.CheckTag(tag) == nil {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return layout.Reference{Transport: layout.TransportLayout, Path: dir, Tag: tag}.String()
		}
	}
	at := strings.LastIndexByte(ref.Path, ':')
	if ref.Transport != layout.TransportPath || at <= 0 || layout.CheckTag(ref.Path[at+1:]) != nil {
		return ""
	}
	info, err := os.Stat(ref.Path[:at])
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return ""
	}
	meant := layout.Reference{Transport: layout.TransportArchive, Path: ref.Path[:at], Tag: ref.Path[at+1:]}
	if info.IsDir() {
		meant.Transport = layout.TransportLayout
	}
	return meant.String()
}
