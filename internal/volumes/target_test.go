package volumes

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/internal/durable"
)

// both are the two ways to write an archive.
var both = []TargetOptions{{}, {Split: true}}

// wantTaken says that the names, and no others, are in the way, and that nothing was touched.
func wantTaken(t *testing.T, file string, o TargetOptions, names ...string) {
	t.Helper()
	dir := filepath.Dir(file)
	before := readDir(t, dir)
	err := split{someBytes(5000, 30), 2000, 1}.packAs(t, file, durable.FS{}, o)
	var exists *ExistsError
	if !errors.As(err, &exists) || exists.Overwrite != o.Overwrite || !errors.Is(err, fs.ErrExist) {
		t.Errorf("%+v: got %v", o, err)
		return
	}
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
		if !strings.Contains(err.Error(), names[i]) {
			t.Errorf("%+v: %s is not in the text %q", o, names[i], err)
		}
	}
	slices.Sort(names)
	if !slices.Equal(exists.Names, names) {
		t.Errorf("%+v: taken %q, want %q", o, exists.Names, names)
	}
	if !maps.Equal(readDir(t, dir), before) {
		t.Errorf("%+v: something was touched", o)
	}
}

// Files of others have names that volumes could have. They are never touched, asked for or not.
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"photos.001", "photos.099", "photos.0001", "photos.parity.001", "photos.SHA256SUMS"} {
		for _, o := range both {
			dir := t.TempDir()
			file := filepath.Join(dir, "photos")
			put(t, filepath.Join(dir, name), "somebody's")
			wantTaken(t, file, o, name)
			o.Overwrite, o.Ours = true, anyFile
			wantTaken(t, file, o, name)
		}
	}
	for _, name := range []string{"photos.100", "photos.parity", "photos.parity.0001", "photos2.001", "photos.001.001", ".photos.001"} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, name), "somebody's")
		must(t, split{someBytes(5000, 30), 2000, 1}.packAs(t, filepath.Join(dir, "photos"), durable.FS{}, TargetOptions{Split: true}))
		if got := readDir(t, dir); got[name] != "somebody's" || len(got) != 6 {
			t.Errorf("%s: %d files", name, len(got))
		}
	}
}

// What would be read as part of a set can't be the name of an archive, in one file or in volumes.
func TestNamesOfVolumes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"y.tar.002", "app-1.0.012", "w.parity.001", "v.SHA256SUMS", "link", "x.001"} {
		for _, o := range both {
			dir := t.TempDir()
			must(t, errors.Join(os.Symlink("z.003", filepath.Join(dir, "link")), os.Symlink("free", filepath.Join(dir, "x.001"))))
			if name == "link" && o.Split { // where links are not followed, the name is taken
				continue
			}
			var bad *NameError
			if _, err := Claim(t.Context(), filepath.Join(dir, name), o); !errors.As(err, &bad) {
				t.Errorf("%s %+v: %v", name, o, err)
			}
		}
	}
	for _, name := range []string{"y.tar.102", "y.tar.02", "app-1.0", "w.parity", "SHA256SUMS", ".SHA256SUMS", ".001"} {
		if _, err := Claim(t.Context(), filepath.Join(t.TempDir(), name), TargetOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Beside an archive of ours others have files, and what a whole list of ours does not name stays.
func TestOthersBesideOurs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		add  func(t *testing.T, file string)
		want []string
	}{
		{"more volumes", func(t *testing.T, file string) { put(t, file+".007", "x"); put(t, file+".parity.003", "x") }, []string{"c.007", "c.parity.003"}},
		{"other digits", func(t *testing.T, file string) { put(t, file+".0001", "x") }, []string{"c.0001"}},
		{"a volume changed", func(t *testing.T, file string) {
			change(t, file+".002", func(raw []byte) []byte { raw[7] ^= 1; return raw })
		}, []string{"c.002"}},
		{"a recovery volume changed", func(t *testing.T, file string) {
			change(t, file+".parity.001", func(raw []byte) []byte { raw[len(raw)-1] ^= 1; return raw })
		}, []string{"c.parity.001"}},
		{"a volume grown", func(t *testing.T, file string) {
			change(t, file+".001", func(raw []byte) []byte { return append(raw, 0) })
		}, []string{"c.001"}},
		{"a directory", func(t *testing.T, file string) {
			must(t, errors.Join(os.Remove(file+".001"), os.Mkdir(file+".001", 0o755)))
		}, []string{"c.001"}},
		{"a directory of another number", func(t *testing.T, file string) { must(t, os.Mkdir(file+".009", 0o755)) }, []string{"c.009"}},
		{"a link to the right bytes", func(t *testing.T, file string) {
			must(t, os.Rename(file+".001", file+"-1"))
			must(t, os.Symlink(filepath.Base(file)+"-1", file+".001"))
		}, []string{"c.001"}},
		{"the list changed", func(t *testing.T, file string) {
			change(t, file+listSuffix, func(raw []byte) []byte { return append(raw, '\n') })
		}, []string{"c.001", "c.002", "c.003", "c.parity.001", "c.SHA256SUMS"}},
		{"the list gone", func(t *testing.T, file string) { must(t, os.Remove(file+listSuffix)) }, []string{"c.001", "c.002", "c.003", "c.parity.001"}},
		{"the list of another name", func(t *testing.T, file string) {
			other := filepath.Join(t.TempDir(), "d")
			split{someBytes(5000, 31), 2000, 1}.mustPack(t, other)
			must(t, os.Rename(other+listSuffix, file+listSuffix))
		}, []string{"c.001", "c.002", "c.003", "c.parity.001", "c.SHA256SUMS"}},
	} {
		for _, o := range both {
			t.Run(fmt.Sprint(test.name, o.Split), func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(t.TempDir(), "c")
				split{someBytes(5000, 31), 2000, 1}.mustPack(t, file)
				test.add(t, file)
				o.Overwrite, o.Ours = true, anyFile
				wantTaken(t, file, o, slices.Clone(test.want)...)
			})
		}
	}
}

// A set that has lost files is replaced as far as it is there.
func TestReplaceWhatIsLeft(t *testing.T) {
	t.Parallel()
	for _, o := range both {
		dir := t.TempDir()
		file := filepath.Join(dir, "c")
		split{someBytes(120*1024, 8), 1024, 3}.mustPack(t, file)
		must(t, errors.Join(os.Remove(file+".0007"), os.Remove(file+".parity.002")))
		for _, name := range []string{"cc.001", "c.100", "c.0001.001", "c.parity", "d.SHA256SUMS"} {
			put(t, filepath.Join(dir, name), name)
		}
		o.Overwrite, o.Ours = true, anyFile
		must(t, split{someBytes(2000, 8), 1024, 0}.packAs(t, file, durable.FS{}, o))
		want := []string{"c.0001.001", "c.100", "c.parity", "cc.001", "d.SHA256SUMS"}
		if o.Split {
			want = append(want, "c.001", "c.002", "c.SHA256SUMS")
		} else {
			want = append(want, "c")
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(readDir(t, dir))); !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", o, got, want)
		}
	}
}

// One file replaces one file, and nothing else does.
func TestReplaceFile(t *testing.T) {
	t.Parallel()
	next := split{someBytes(5000, 30), 2000, 1}
	for _, test := range []struct {
		name string
		make func(path string) error
		ok   bool
	}{
		{"a file", func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }, true},
		{"an empty file", func(path string) error { return os.WriteFile(path, nil, 0o600) }, true},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o755) }, false},
		{"a link to a directory", func(path string) error { return os.Symlink(".", path) }, false},
	} {
		for _, o := range both {
			dir := t.TempDir()
			file := filepath.Join(dir, "c")
			must(t, test.make(file))
			if test.name == "a link to a directory" && !o.Split {
				if err := next.packAs(t, file, durable.FS{}, o); !errors.Is(err, fs.ErrExist) {
					t.Errorf("%s: %v", test.name, err)
				}
				continue
			}
			wantTaken(t, file, o, "c")
			o.Overwrite, o.Ours = true, anyFile
			if o.Split || !test.ok {
				wantTaken(t, file, o, "c")
				continue
			}
			must(t, next.packAs(t, file, durable.FS{}, o))
			if got := readDir(t, dir); got["c"] != string(next.data) || len(got) != 1 {
				t.Errorf("%s: %d files", test.name, len(got))
			}
		}
	}
}

// FILE may be a symbolic link: what it leads to is written, beside which the names have to be free, and the link stays.
func TestLinkedFile(t *testing.T) {
	t.Parallel()
	next := split{someBytes(5000, 30), 2000, 1}
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "a", "deep"), 0o755))
	must(t, os.Symlink(filepath.Join("a", "deep"), filepath.Join(dir, "short")))
	link := filepath.Join(dir, "link")
	must(t, os.Symlink("second", link))
	must(t, os.Symlink("short/../real", filepath.Join(dir, "second"))) // that is a/real
	real := filepath.Join(dir, "a", "real")
	for _, overwrite := range []bool{false, true} {
		must(t, next.packAs(t, link, durable.FS{}, TargetOptions{Overwrite: overwrite, Ours: anyFile}))
		if raw, err := os.ReadFile(real); err != nil || string(raw) != string(next.data) {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		if to, err := os.Readlink(link); err != nil || to != "second" {
			t.Errorf("the link leads to %q, %v", to, err)
		}
	}
	var exists *ExistsError
	if err := next.packAs(t, link, durable.FS{}, TargetOptions{}); !errors.As(err, &exists) || len(exists.Names) != 1 {
		t.Errorf("got %v", err)
	}
	must(t, errors.Join(os.Rename(real, real+".001")))
	if err := next.packAs(t, link, durable.FS{}, TargetOptions{Overwrite: true, Ours: anyFile}); !errors.As(err, &exists) || !strings.HasSuffix(exists.Names[0], "a/real.001") {
		t.Errorf("got %v", err)
	}
	// Whoever reads volumes looks beside FILE, so a link is no name for them.
	for _, overwrite := range []bool{false, true} {
		wantTaken(t, link, TargetOptions{Split: true, Overwrite: overwrite}, "link")
	}
	loop := filepath.Join(dir, "loop")
	must(t, os.Symlink("loop", loop))
	if _, err := Claim(t.Context(), loop, TargetOptions{}); err == nil {
		t.Error("a loop of links: no error")
	}
}

func TestOccupies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "c")
	split{someBytes(5000, 31), 2000, 1}.mustPack(t, file)
	must(t, os.Remove(file+".002"))
	must(t, os.Symlink("c.003", filepath.Join(dir, "link")))
	must(t, os.Symlink(dir, filepath.Join(dir, "here")))
	put(t, filepath.Join(dir, "d"), "")
	set := wantOpen(t, someBytes(5000, 31), file)
	for path, want := range map[string]bool{
		"c": true, "c.001": true, "c.parity.001": true, "c.SHA256SUMS": true, "link": true, "here/c": true, "here/c.001": true,
		"c.002": true, "c.004": true, "c.parity.009": true, "here/c.004": true, // which would be taken for volumes
		"d": false, "cc": false, "no/c": false, "c.104": false, "cc.001": false,
	} {
		if got := set.Occupies(filepath.Join(dir, path)); got != want {
			t.Errorf("%s: %v", path, got)
		}
		for _, name := range []string{"c", "c.001", "c.SHA256SUMS"} {
			if got := Occupies(filepath.Join(dir, name), filepath.Join(dir, path)); got != want {
				t.Errorf("%s, of %s alone: %v", path, name, got)
			}
		}
	}
	if d := filepath.Join(dir, "d"); !Occupies(d, d) || Occupies(d, file) || Occupies(filepath.Join(dir, "none"), d) {
		t.Error("a file alone occupies something else than itself")
	}
}

// anyFile says that every file is ours.
func anyFile(io.Reader) bool { return true }

// TestOthersFile replaces nothing that is not ours.
func TestOthersFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(file, []byte("important"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantTaken(t, file, TargetOptions{Overwrite: true}, "notes.txt")
	wantTaken(t, file, TargetOptions{Overwrite: true, Ours: func(r io.Reader) bool {
		raw, err := io.ReadAll(r)
		return err != nil || string(raw) != "important"
	}}, "notes.txt")
	if _, err := Claim(t.Context(), file, TargetOptions{Overwrite: true, Ours: anyFile}); err != nil {
		t.Error(err)
	}
}
