//go:build release

package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const (
	repository = "../.."
	dist       = repository + "/dist"
)

// version returns the version that was made, as the names of its files have it.
func version(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(dist + "/release/ocicache_*_image.tar")
	if err != nil || len(found) != 1 {
		t.Fatalf("there is no release in %s, or several: %v %v; 'make release' makes it", dist, found, err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), "ocicache_"), "_image.tar")
}

// made returns the path of a file of the release, such as linux_amd64.deb.
func made(t *testing.T, what string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(dist, "release", "ocicache_"+version(t)+"_"+what))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// need skips a test where programs are missing, or root's rights.
func need(t *testing.T, programs ...string) {
	t.Helper()
	var missing []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	switch {
	case len(missing) == 0:
	case os.Getenv("E2E") == "required":
		t.Fatalf("E2E=required, but there is no %s", strings.Join(missing, ", no "))
	default:
		t.Skipf("NOT TESTED: there is no %s", strings.Join(missing, ", no "))
	}
}

// run runs a program, and returns what it says.
func run(t *testing.T, env []string, words ...string) string {
	t.Helper()
	out, err := try(t, env, words...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return out
}

func try(t *testing.T, env []string, words ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// entry is a file in an archive.
type entry struct {
	tar.Header
	data []byte
}

// untar reads a compressed archive, or several with no end between them.
func untar(t *testing.T, from io.Reader) map[string]entry {
	t.Helper()
	unzipped, err := gzip.NewReader(from)
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]entry{}
	for r := tar.NewReader(unzipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries[strings.Trim(header.Name, "/")] = entry{*header, data}
	}
}

// open opens a file for the time of the test.
func open(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// archive reads the archive for a platform. Its names are those in its one directory.
func archive(t *testing.T, platform string) map[string]entry {
	t.Helper()
	top := "ocicache_" + version(t) + "_" + platform
	entries := map[string]entry{}
	for name, e := range untar(t, open(t, made(t, platform+".tar.gz"))) {
		inside, ok := strings.CutPrefix(name+"/", top+"/")
		if !ok {
			t.Fatalf("%s is outside of %s", name, top)
		}
		entries[strings.TrimSuffix(inside, "/")] = e
	}
	return entries
}

// write writes an entry below a directory.
func (e entry) write(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	switch {
	case err != nil:
	case e.Typeflag == tar.TypeDir:
		if err = os.MkdirAll(path, 0o755); err == nil {
			err = os.Chmod(path, e.FileInfo().Mode())
		}
	default:
		err = os.WriteFile(path, e.data, e.FileInfo().Mode())
	}
	if err == nil && os.Geteuid() == 0 {
		err = os.Chown(path, e.Uid, e.Gid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// program unpacks the binary for this machine.
func program(t *testing.T) string {
	t.Helper()
	return archive(t, runtime.GOOS+"_"+runtime.GOARCH)["ocicache"].write(t, t.TempDir(), "ocicache")
}

// works lets a binary convert a cache, and verify it.
func works(t *testing.T, binary string) {
	t.Helper()
	if said := run(t, nil, binary, "version"); !strings.HasPrefix(said, "ocicache ") {
		t.Errorf("it says %q", said)
	}
	to := filepath.Join(t.TempDir(), "cache")
	run(t, nil, binary, "convert", repository+"/testdata/caches/docker-list-gzip", to, "--to", "artifact", "--compression", "zstd")
	run(t, nil, binary, "verify", to, "--deep")
}

// files returns the paths of the files below a directory, with their contents.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			all[name], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// unzip returns what a compressed file holds.
func unzip(t *testing.T, data []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
