package explaintest

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// ReadLLB returns the LLB that dockerfile2llb of BuildKit v0.34.2 made from a
// context in testdata/contexts, for the caches in testdata/caches that were built
// from it.
func ReadLLB(t testing.TB, context string) []byte {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	file, err := os.Open(filepath.Join(filepath.Dir(here), "../../testdata/explain", context+".llb.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // only read
	unpacked, err := compress.NewDecoder().Decode(t.Context(), file, buildcache.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	defer unpacked.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// UnpackTo unpacks parts of the corpus into a directory.
func UnpackTo(ctx context.Context, dir string, prefixes ...string) error {
	return unpackArchive(ctx, corpus, dir, prefixes)
}

// UnpackTwins unpacks a build whose steps differ only in their files, and its
// variants, and returns the directory.
func UnpackTwins(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unpackArchive(t.Context(), twins, dir, nil); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "twins")
}

// UnpackSame unpacks a build with two stages of identical steps, and its variants, and returns the directory.
func UnpackSame(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unpackArchive(t.Context(), same, dir, nil); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "same")
}

// UnpackSources unpacks builds that take a file from a different path than an older build, with its cache, and returns the directory.
func UnpackSources(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unpackArchive(t.Context(), sources, dir, nil); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "sources")
}

func unpackArchive(ctx context.Context, archive, dir string, prefixes []string) error {
	_, here, _, _ := runtime.Caller(0)
	file, err := os.Open(filepath.Join(filepath.Dir(here), archive))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	unpacked, err := compress.NewDecoder().Decode(ctx, file, buildcache.Zstd)
	if err != nil {
		return err
	}
	defer unpacked.Close() //nolint:errcheck // only read
	for r := tar.NewReader(unpacked); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if name := strings.TrimPrefix(header.Name, "./"); hasPrefix(name, prefixes) {
			if err := unpack(dir, name, header, r); err != nil {
				return err
			}
		}
	}
}

func hasPrefix(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return len(prefixes) == 0
}

// unpack makes one file. Directories stay writable, so that tests can remove them.
func unpack(dir, name string, header *tar.Header, content io.Reader) error {
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := header.FileInfo().Mode()
	switch header.Typeflag {
	case tar.TypeDir:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return os.Chmod(path, mode.Perm()|0o700)
	case tar.TypeSymlink:
		return os.Symlink(header.Linkname, path)
	case tar.TypeLink:
		return os.Link(filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(header.Linkname, "./"))), path)
	case tar.TypeReg:
		data, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
		return os.Chmod(path, mode)
	}
	return nil
}
