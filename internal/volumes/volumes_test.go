package volumes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/reedsolomon"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/quicktest"
)

// someBytes returns n bytes, others for each seed.
func someBytes(n int, seed uint64) []byte {
	var key [32]byte
	key[0] = byte(seed)
	key[1] = byte(seed >> 8)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// split is how a set is made.
type split struct {
	data   []byte
	size   int64
	parity int
}

func (s split) count() int { return int((int64(len(s.data))-1)/s.size + 1) }

func (s split) id() string { return "sha256:" + sumOf(s.data) }

// pack writes a set in the place of an older one, in pieces of uneven sizes, and returns the error of whatever failed first.
func (s split) pack(t *testing.T, file string, fsys durable.FS) error {
	t.Helper()
	return s.packAs(t, file, fsys, TargetOptions{Split: true, Overwrite: true, Ours: anyFile})
}

// packAs does what packing does: it has the work directory for itself, ends what a crash left, and then begins.
func (s split) packAs(t *testing.T, file string, fsys durable.FS, o TargetOptions) (err error) {
	t.Helper()
	work := filepath.Join(filepath.Dir(file), ".work")
	must(t, os.MkdirAll(work, 0o755))
	defer func() {
		if !Unfinished(work) {
			err = errors.Join(err, os.Remove(work)) // nothing is left in it
		}
	}()
	if err := Restore(t.Context(), fsys, file, work); err != nil {
		return err
	}
	to, err := Claim(t.Context(), file, o)
	if err != nil {
		return err
	}
	var plan *Plan
	if o.Split {
		if plan, err = NewPlan(file, int64(len(s.data)), s.id(), s.size, s.parity); err != nil {
			return err
		}
	}
	w, err := Create(work, to, plan, fsys)
	if err != nil {
		return err
	}
	rest := s.data
	for n := 1; len(rest) > 0; n = n*3 + 1 {
		n = min(n, len(rest))
		if _, err := w.Write(rest[:n]); err != nil {
			return errors.Join(err, w.Discard())
		}
		rest = rest[n:]
	}
	return w.Commit(t.Context())
}

func (s split) mustPack(t *testing.T, file string) {
	t.Helper()
	if err := s.pack(t, file, durable.FS{}); err != nil {
		t.Fatal(err)
	}
}

// name returns the name of shard i: volumes first, then recovery volumes.
func (s split) name(file string, i int) string {
	if i < s.count() {
		return volumeFile(file, i+1, volumeDigits(int64(s.count())))
	}
	return recoveryFile(file, i-s.count()+1)
}

// wantReads reads all of a set at random places.
func wantReads(t *testing.T, set *Set, data []byte) {
	t.Helper()
	if set.Size() != int64(len(data)) {
		t.Fatalf("%d bytes, want %d", set.Size(), len(data))
	}
	got, err := io.ReadAll(io.NewSectionReader(set, 0, set.Size()+1))
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the whole is %d bytes (equal: %v), %v", len(got), bytes.Equal(got, data), err)
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(data))))
	for range 40 {
		offset := rng.Int64N(int64(len(data)))
		p := make([]byte, rng.IntN(3*len(data)/2)+1)
		n, err := set.ReadAt(p, offset)
		want := data[offset:min(int64(len(data)), offset+int64(len(p)))]
		if !bytes.Equal(p[:n], want) || (n < len(p)) != errors.Is(err, io.EOF) || err != nil && n == len(p) {
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v; want %d bytes", len(p), offset, n, err, len(want))
		}
	}
	if n, err := set.ReadAt(make([]byte, 1), set.Size()+5); n != 0 || err != io.EOF { //nolint:errorlint // as io.ReaderAt has it
		t.Errorf("after the end: %d, %v", n, err)
	}
	if _, err := set.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("before the beginning: no error")
	}
}

func wantOpen(t *testing.T, data []byte, names ...string) *Set {
	t.Helper()
	set, err := Open(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	wantReads(t, set, data)
	return set
}

// wantVolumesError opens a set that can't be rebuilt, and returns what is wrong with it, by name.
func wantVolumesError(t *testing.T, names ...string) map[string]error {
	t.Helper()
	set, err := Open(t.Context(), names)
	var lost *LostError
	if !errors.As(err, &lost) {
		t.Fatalf("got set %v and error %v, want a *LostError", set, err)
	}
	problems := map[string]error{}
	for _, problem := range lost.Volumes {
		problems[problem.Name] = problem.Err
		if !strings.Contains(err.Error(), problem.Name) {
			t.Errorf("%s is not in the text %q", problem.Name, err)
		}
	}
	if len(problems) != len(lost.Volumes) {
		t.Errorf("something is listed twice: %v", lost.Volumes)
	}
	return problems
}

func wantProblems(t *testing.T, got map[string]error, want map[string]error) {
	t.Helper()
	for name, err := range want {
		if !errors.Is(got[name], err) {
			t.Errorf("%s: %v, want %v", name, got[name], err)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got problems %v, want %v", got, want)
	}
}

func readDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(raw)
	}
	return files
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The shell and sha256sum are all that one needs to put an archive together and to know that it is whole.
func TestVolumesWithoutUs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		total  int
		size   int64
		parity int
		files  int // volumes, recovery volumes and the list
	}{
		{1, 1024, 0, 2},
		{1, 1024, 3, 5},
		{1000, 1 << 40, 1, 3},
		{5 * 1024, 1024, 0, 6}, // nothing is left for a last one
		{5*1024 + 1, 1024, 2, 9},
		{99 * 1024, 1024, 0, 100},
		{100 * 1024, 1024, 0, 101},
		{253*1024 + 17, 1024, 2, 257},
		{1003*1024 + 17, 1024, 0, 1005},
		{3<<20 + 5, 1<<20 + 1, 1, 6}, // larger than the blocks
	} {
		t.Run(fmt.Sprintf("%d in %d with %d", test.total, test.size, test.parity), func(t *testing.T) {
			t.Parallel()
			s := split{someBytes(test.total, 1), test.size, test.parity}
			dir := t.TempDir()
			s.mustPack(t, filepath.Join(dir, "cache.tar"))
			if got := len(readDir(t, dir)); got != test.files {
				t.Errorf("%d files, want %d", got, test.files)
			}
			script := "cat cache.tar.0* | sha256sum && sha256sum -c --strict cache.tar.SHA256SUMS"
			cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), sumOf(s.data)+" ") ||
				strings.Count(string(out), ": OK\n") != test.files-1 {
				t.Errorf("%v\n%.2000s", err, out)
			}
			set := wantOpen(t, s.data, filepath.Join(dir, "cache.tar"))
			if set.ID() != s.id() || len(set.Notes()) > 0 || set.String() != filepath.Join(dir, "cache.tar") {
				t.Errorf("%s: id %s, notes %q", set, set.ID(), set.Notes())
			}
		})
	}
}

// A plan knows beforehand how much there will be in all files.
func TestPlanBytes(t *testing.T) {
	t.Parallel()
	for _, s := range []split{
		{someBytes(5000, 1), 2000, 0}, {someBytes(5000, 1), 2000, 3}, {someBytes(5000, 1), 1 << 40, 3}, {someBytes(120*1024, 2), 1024, 7}, {someBytes(4096, 3), 2048, 1},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "c")
		s.mustPack(t, file)
		plan, err := NewPlan(file, int64(len(s.data)), s.id(), s.size, s.parity)
		must(t, err)
		var got int64
		for _, path := range plan.Files() {
			info, err := os.Stat(path)
			must(t, err)
			got += info.Size()
		}
		if got != plan.Bytes() {
			t.Errorf("%d bytes in volumes of %d with %d recovery volumes: %d, and %d were planned", len(s.data), s.size, s.parity, got, plan.Bytes())
		}
	}
}

// The code of recovery volumes is a format: what was written must stay readable.
func TestRecoveryFormat(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a")
	data := make([]byte, 3*1024)
	for i := range data {
		data[i] = byte(i * i / 7)
	}
	split{data, 1024, 2}.mustPack(t, file)
	for number, want := range []string{recoveryGolden1, recoveryGolden2} {
		raw, err := os.ReadFile(recoveryFile(file, number+1))
		if err != nil {
			t.Fatal(err)
		}
		if got := sumOf(raw); got != want {
			t.Errorf("recovery volume %d has the sum %s, want %s", number+1, got, want)
		}
	}
}

const (
	recoveryGolden1 = "eef3f55f9ff2848708a807ed438efe52acf191ecd9f26f75468498678bb55a27"
	recoveryGolden2 = "e8b83cebfbbdc9e9678c70d449dc8f2992d1c5034c2dc5e8cc80de8eae380aee"
)

// damages are ways to lose a volume, and what is said of it.
var damages = []struct {
	name   string
	damage func(t *testing.T, path string)
	err    error
}{
	{"removed", func(t *testing.T, path string) { must(t, os.Remove(path)) }, ErrMissing},
	{"a bit flipped", func(t *testing.T, path string) {
		change(t, path, func(raw []byte) []byte { raw[len(raw)*2/3] ^= 4; return raw })
	}, ErrDamaged},
	{"truncated", func(t *testing.T, path string) {
		change(t, path, func(raw []byte) []byte { return raw[:len(raw)-1] })
	}, ErrDamaged},
	{"longer", func(t *testing.T, path string) {
		change(t, path, func(raw []byte) []byte { return append(raw, 0) })
	}, ErrDamaged},
	{"empty", func(t *testing.T, path string) {
		change(t, path, func([]byte) []byte { return nil })
	}, ErrDamaged},
	{"the first bit flipped", func(t *testing.T, path string) {
		change(t, path, func(raw []byte) []byte { raw[0] ^= 1; return raw })
	}, ErrDamaged},
	{"a directory", func(t *testing.T, path string) {
		must(t, os.Remove(path))
		must(t, os.Mkdir(path, 0o755))
	}, ErrMissing},
	{"of others", func(t *testing.T, path string) {
		change(t, path, func(raw []byte) []byte { return someBytes(len(raw), 99) })
	}, ErrDamaged},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// change replaces a file by one with other bytes.
func change(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, errors.Join(err, os.Remove(path)))
	put(t, path, string(how(raw)))
}

// Any two of five volumes and two recovery volumes, lost in every way, with the list and without it; and any three
// are said to be lost, each with its reason.
func TestVolumesLost(t *testing.T) {
	t.Parallel()
	const total = 4*3000 + 700
	s := split{someBytes(total, 2), 3000, 2}
	origin := t.TempDir()
	s.mustPack(t, filepath.Join(origin, "c"))
	whole := readDir(t, origin)
	t.Cleanup(func() { wantUnchanged(t, origin, whole) })
	all := s.count() + s.parity
	for mask := range 1 << all {
		var gone []int
		for i := range all {
			if mask>>i&1 == 1 {
				gone = append(gone, i)
			}
		}
		if len(gone) == 0 || len(gone) > s.parity+1 {
			continue
		}
		for k := range damages {
			for _, withList := range []bool{(mask+k)%2 == 0, (mask+k)%2 != 0}[:quicktest.Rounds(1, 2)] {
				t.Run(fmt.Sprintf("%v %s list=%v", gone, damages[k].name, withList), func(t *testing.T) {
					t.Parallel()
					checkLost(t, s, origin, gone, k, withList)
				})
			}
		}
	}
}

// checkLost damages what is gone, the first as damages[k] does, the others as those after it do.
func checkLost(t *testing.T, s split, origin string, gone []int, k int, withList bool) {
	t.Helper()
	dir := linked(t, origin)
	file := filepath.Join(dir, "c")
	want := map[string]error{}
	lostVolumes := 0
	heads := s.parity
	for i, shard := range gone {
		how := damages[(k+i)%len(damages)]
		how.damage(t, s.name(file, shard))
		want[s.name("c", shard)] = how.err
		if shard < s.count() {
			lostVolumes++
		} else {
			heads--
		}
	}
	if !withList {
		if k%2 == 1 {
			change(t, file+listSuffix, func(raw []byte) []byte { return raw[:300] }) // damaged is as good as lost
		} else {
			must(t, os.Remove(file+listSuffix))
		}
	}
	left := s.parity - (len(gone) - lostVolumes)
	before := readDir(t, dir)
	switch {
	case !withList && heads == 0 && !strings.Contains(recoverable(t, dir), "head"):
		return // nothing but the volumes says how many there are: see TestVolumesWithoutAnyList
	case lostVolumes > left:
		got := wantVolumesError(t, file)
		delete(got, "c"+listSuffix)
		wantProblems(t, got, want)
	default:
		set := wantOpen(t, s.data, file)
		if len(set.Notes()) < len(gone) || set.ID() != s.id() {
			t.Errorf("id %s, notes %q", set.ID(), set.Notes())
		}
		for name := range want {
			if !strings.Contains(strings.Join(set.Notes(), "\n"), name+": ") {
				t.Errorf("nothing is said of %s: %q", name, set.Notes())
			}
		}
	}
	if after := readDir(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("something was written")
	}
}

// recoverable says "head" where a recovery volume still has a head.
func recoverable(t *testing.T, dir string) string {
	t.Helper()
	for name, text := range readDir(t, dir) {
		if _, err := parseHead(strings.NewReader(text)); err == nil && strings.Contains(name, recoveryInfix) {
			return "head"
		}
	}
	return ""
}

func TestVolumesWithoutAnyList(t *testing.T) {
	t.Parallel()
	s := split{someBytes(5*2000+11, 3), 2000, 1}
	dir := t.TempDir()
	file := filepath.Join(dir, "c")
	s.mustPack(t, file)
	must(t, os.Remove(file+listSuffix))
	put(t, recoveryFile(file, 1), "no head")
	set := wantOpen(t, s.data, file+".003")
	if set.ID() != "" || len(set.Notes()) != 2 {
		t.Errorf("id %q, notes %q", set.ID(), set.Notes())
	}
	must(t, os.Remove(recoveryFile(file, 1)))
	must(t, os.Remove(s.name(file, 5)))
	wantOpen(t, s.data[:10000], file) // that the end is missing, the tar tells
	must(t, os.Remove(s.name(file, 0)))
	must(t, os.Remove(s.name(file, 2)))
	wantProblems(t, wantVolumesError(t, file), map[string]error{"c.001": ErrMissing, "c.003": ErrMissing})

	// A list that is bad is not the same as none: it may be right about what the volumes are not.
	put(t, file+listSuffix, sumOf(nil)+"  c.002\n")
	wantProblems(t, wantVolumesError(t, file), map[string]error{"c" + listSuffix: ErrList})
}

func TestVolumesSwapped(t *testing.T) {
	t.Parallel()
	for _, more := range []int{0, 7} { // bytes in a last volume, which is shorter
		s := split{someBytes(4*2000+more, 4), 2000, 0}
		last := s.count() - 1
		file := filepath.Join(t.TempDir(), "c")
		s.mustPack(t, file)
		must(t, os.Rename(s.name(file, 1), file+".x"))
		must(t, os.Rename(s.name(file, last), s.name(file, 1)))
		must(t, os.Rename(file+".x", s.name(file, last)))
		set := wantOpen(t, s.data, file)
		says := filepath.Base(s.name(file, last)) + ": it holds what c.002 should hold, and is read as that"
		if notes := strings.Join(set.Notes(), "\n"); len(set.Notes()) != 2 || !strings.Contains(notes, says) {
			t.Errorf("notes %q", notes)
		}
		if lost := set.Lost(); len(lost) != 2 || lost[0].Err == nil || lost[1].Err == nil {
			t.Errorf("lost %v", lost)
		}

		// One that is gone has no name that another one could have.
		must(t, os.Remove(s.name(file, 1)))
		got := wantVolumesError(t, file)
		wantProblems(t, got, map[string]error{filepath.Base(s.name(file, last)): ErrDamaged})
		if got := got[filepath.Base(s.name(file, last))].Error(); !strings.Contains(got, "it holds what c.002 should hold") {
			t.Error(got)
		}
	}
}

// One that is lost may be named all the same, where the others tell that there is one.
func TestVolumesNamedLost(t *testing.T) {
	t.Parallel()
	s := split{someBytes(4*2000+9, 8), 2000, 1}
	file := filepath.Join(t.TempDir(), "c")
	s.mustPack(t, file)
	must(t, os.Remove(s.name(file, 0)))
	wantOpen(t, s.data, s.name(file, 0))
	must(t, os.Remove(file+listSuffix))
	wantOpen(t, s.data, s.name(file, 0), s.name(file, 1))
	for _, name := range []string{".006", ".0001", ".parity.002"} {
		if _, err := Open(t.Context(), []string{file + name}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, os.Remove(recoveryFile(file, 1)))
	if _, err := Open(t.Context(), []string{s.name(file, 0)}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestVolumesOfOthers(t *testing.T) {
	t.Parallel()
	ours, theirs := split{someBytes(4*2000+9, 5), 2000, 1}, split{someBytes(4*2000+9, 6), 2000, 1}
	other := split{ours.data, 1500, 1} // the same archive, split otherwise
	make2 := func(t *testing.T, second split) (a, b string) {
		t.Helper()
		a, b = filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "c")
		ours.mustPack(t, a)
		second.mustPack(t, b)
		return a, b
	}
	for _, test := range []struct {
		name   string
		second split
		says   string
	}{
		{"another archive", theirs, theirs.id()},
		{"another run", other, "split otherwise"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, b := make2(t, test.second)
			must(t, os.Rename(recoveryFile(b, 1), recoveryFile(a, 1)))
			set := wantOpen(t, ours.data, a)
			if len(set.Notes()) != 1 || !strings.Contains(set.Notes()[0], test.says) ||
				!strings.Contains(set.Notes()[0], ErrForeign.Error()) {
				t.Errorf("notes %q", set.Notes())
			}
			must(t, os.Remove(volumeFile(a, 2, 3)))
			wantProblems(t, wantVolumesError(t, a), map[string]error{
				"c.002": ErrMissing, "c.parity.001": ErrForeign,
			})
			// Without our list, their recovery volume is all there is to tell what the volumes should be.
			must(t, os.Remove(a+listSuffix))
			if got := wantVolumesError(t, a); !errors.Is(got["c.001"], ErrDamaged) {
				t.Errorf("got %v", got)
			}
		})
	}
	t.Run("a volume", func(t *testing.T) {
		t.Parallel()
		a, b := make2(t, theirs)
		must(t, os.Rename(volumeFile(b, 1, 3), volumeFile(a, 1, 3)))
		must(t, os.Rename(volumeFile(b, 4, 3), volumeFile(a, 4, 3)))
		got := wantVolumesError(t, a)
		wantProblems(t, got, map[string]error{"c.001": ErrForeign, "c.004": ErrForeign})
		must(t, os.Truncate(volumeFile(a, 4, 3), 1500)) // one of another size may be that, too
		got = wantVolumesError(t, a)
		wantProblems(t, got, map[string]error{"c.001": ErrForeign, "c.004": ErrForeign})
		wantProblems(t, got, map[string]error{"c.001": ErrDamaged, "c.004": ErrDamaged})
	})
	t.Run("lists", func(t *testing.T) {
		t.Parallel()
		a, b := make2(t, theirs)
		_, err := Open(t.Context(), []string{volumeFile(a, 1, 3), volumeFile(b, 2, 3)})
		if !errors.Is(err, ErrMixed) || !strings.Contains(err.Error(), ours.id()) ||
			!strings.Contains(err.Error(), theirs.id()) {
			t.Errorf("lists of two archives: %v", err)
		}
		must(t, os.Remove(a+listSuffix))
		must(t, os.Remove(b+listSuffix))
		if _, err := Open(t.Context(), []string{a, b}); !errors.Is(err, ErrMixed) {
			t.Errorf("heads of two archives: %v", err)
		}
		must(t, os.Remove(recoveryFile(a, 1)))
		must(t, os.Remove(recoveryFile(b, 1)))
		if _, err := Open(t.Context(), []string{a, b}); !errors.Is(err, ErrMixed) {
			t.Errorf("two volumes of each number and no list: %v", err)
		}
	})
	t.Run("leftovers", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "c")
		ours.mustPack(t, file)
		put(t, file+".006", "x")
		put(t, file+".0001", "x")
		put(t, file+".parity.002", "x")
		if set := wantOpen(t, ours.data, file); len(set.Notes()) != 3 {
			t.Errorf("notes %q", set.Notes())
		}
		must(t, os.Remove(file+listSuffix))
		must(t, os.Remove(file+".parity.001"))
		if _, err := Open(t.Context(), []string{file}); !errors.Is(err, ErrMixed) {
			t.Errorf("numbers of two lengths and no list: %v", err)
		}
	})
}

func TestVolumesNamed(t *testing.T) {
	t.Parallel()
	s := split{someBytes(4*2000+9, 7), 2000, 2}
	dir := t.TempDir()
	file := filepath.Join(dir, "c")
	s.mustPack(t, file)
	for _, names := range [][]string{
		{""},
		{".001"},
		{".005"},
		{".parity.002"},
		{".SHA256SUMS"},
		{".SHA256SUMS", ".parity.001", ".003", ".001"},
		{".005", ".004", ".003", ".002", ".001", ".parity.002", ".parity.001", ".SHA256SUMS"},
		{".001", ".001", ""},
	} {
		var paths []string
		for _, name := range names {
			paths = append(paths, file+name)
		}
		wantOpen(t, s.data, paths...)
	}
	// On several media, and renamed.
	first, second := filepath.Join(t.TempDir(), "new"), filepath.Join(t.TempDir(), "new")
	for i := range s.count() + s.parity {
		to := second
		if i%2 == 0 {
			to = first
		}
		must(t, os.Rename(s.name(file, i), s.name(to, i)))
	}
	must(t, os.Rename(file+listSuffix, second+listSuffix))
	if set := wantOpen(t, s.data, first+".001", second+".002"); len(set.Notes()) > 0 {
		t.Errorf("notes %q", set.Notes())
	}
	wantProblems(t, wantVolumesError(t, second+".002"), map[string]error{
		"new.001": ErrMissing, "new.003": ErrMissing, "new.005": ErrMissing, "new.parity.002": ErrMissing,
	})
	for _, test := range []struct {
		names []string
		err   error
	}{
		{[]string{first + ".001", filepath.Join(filepath.Dir(first), "old.001")}, fs.ErrNotExist},
		{[]string{first + ".009"}, fs.ErrNotExist},
		{[]string{first + "er"}, fs.ErrNotExist},
		{[]string{filepath.Join(dir, "no", "c.001")}, fs.ErrNotExist},
		{[]string{first, second + "er"}, ErrMixed},
	} {
		if _, err := Open(t.Context(), test.names); !errors.Is(err, test.err) {
			t.Errorf("%q: %v, want %v", test.names, err, test.err)
		}
	}
}

func TestParseVolumeName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		want volumeName
	}{
		{"a.001", volumeName{"a", kindVolume, 1, 3}},
		{"a.tar.0100", volumeName{"a.tar", kindVolume, 100, 4}},
		{"a.099999", volumeName{"a", kindVolume, 99999, 6}},
		{"a.001.002", volumeName{"a.001", kindVolume, 2, 3}},
		{"a.parity.001", volumeName{"a", kindRecovery, 1, 3}},
		{"a.parity.255", volumeName{"a", kindRecovery, 255, 3}},
		{"a.SHA256SUMS", volumeName{"a", kindList, 0, 0}},
		{name: "a"},
		{name: "a.01"},
		{name: "a.100"},
		{name: "a.000"},
		{name: "a.0x1"},
		{name: "a.+01"},
		{name: "a.0100000"},
		{name: "a.0" + strings.Repeat("9", 40)},
		{name: "a.parity.256"},
		{name: "a.parity.0001"},
		{name: ".001"},
		{name: ".parity.001"},
		{name: ".SHA256SUMS"},
	} {
		got, ok := parseVolumeName(test.name)
		if ok != (test.want.stem != "") || ok && got != test.want {
			t.Errorf("%s: %+v %v, want %+v", test.name, got, ok, test.want)
		}
	}
}

func TestSplitRefused(t *testing.T) {
	t.Parallel()
	const huge = 1<<63 - 1
	for _, test := range []struct {
		stem        string
		total, size int64
		parity      int
		ok          bool
	}{
		{"c", 254 * 1024, 1024, 2, true},
		{"c", 254*1024 + 1, 1024, 2, false},
		{"c", 1024, 1024, 255, true},
		{"c", 1024, 1024, 256, false},
		{"c", MaxVolumes * 1024, 1024, 0, true},
		{"c", MaxVolumes*1024 + 1, 1024, 0, false},
		{"c", 5000, 1023, 0, false},
		{"c", 5000, 0, 0, false},
		{"c", 5000, -1, 0, false},
		{"c", 5000, 1024, -1, false},
		{"c", 0, 1024, 0, false},
		{"c", huge, 1024, 0, false},
		{"c", huge, huge, 255, true},
		{"c.parity", 5000, 1024, 0, false},
		{"c\nd", 5000, 1024, 0, false},
		{"c\\d", 5000, 1024, 0, false},
		{strings.Repeat("c", 245), 5000, 1024, 0, false},
		{strings.Repeat("c", 244), 5000, 1024, 0, true},
	} {
		plan, err := NewPlan(filepath.Join("dir", test.stem), test.total, "sum:x", test.size, test.parity)
		switch {
		case test.ok && err != nil || !test.ok && !errors.Is(err, ErrSplit):
			t.Errorf("%.10q: %d in %d with %d: %v", test.stem, test.total, test.size, test.parity, err)
		case test.ok && len(plan.Files()) != plan.Volumes()+test.parity+1:
			t.Errorf("%.10q: %d files", test.stem, len(plan.Files()))
		}
	}
	for _, id := range []string{"", "a b", "a\n", "ä", strings.Repeat("a", 256)} {
		if _, err := NewPlan("c", 5000, id, 1024, 0); !errors.Is(err, ErrSplit) {
			t.Errorf("id %.10q: %v", id, err)
		}
	}
}

func TestVolumesOtherLength(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "c")
	work := filepath.Join(dir, "work")
	must(t, os.Mkdir(work, 0o755))
	begin := func() Writer {
		to, err := Claim(t.Context(), file, TargetOptions{Split: true})
		must(t, err)
		plan, err := NewPlan(file, 3000, "sum:x", 2000, 1)
		must(t, err)
		w, err := Create(work, to, plan, durable.FS{})
		must(t, err)
		return w
	}
	v := begin()
	if _, err := v.Write(make([]byte, 3001)); err == nil {
		t.Error("more than announced: no error")
	}
	if _, err := v.Write(make([]byte, 2999)); err != nil {
		t.Error(err)
	}
	if err := v.Commit(t.Context()); err == nil {
		t.Error("less than announced: no error")
	}
	v = begin()
	_, err := v.Write(make([]byte, 3000))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := v.Write(nil); !errors.Is(err, errClosed) {
		t.Errorf("after the end: %v", err)
	}
	must(t, v.Discard())
	if files := readDir(t, dir); len(files) > 0 || len(readDir(t, work)) > 0 {
		t.Errorf("left: %v", files)
	}
}

// countingCoder counts how often something is rebuilt.
type countingCoder struct {
	reedsolomon.Encoder
	n atomic.Int64
}

func (c *countingCoder) ReconstructSome(shards [][]byte, required []bool) error {
	c.n.Add(1)
	return c.Encoder.ReconstructSome(shards, required)
}

func TestRebuildOnce(t *testing.T) {
	t.Parallel()
	s := split{someBytes(3<<20, 12), 1<<20 + 1<<19, 1}
	file := filepath.Join(t.TempDir(), "c")
	s.mustPack(t, file)
	must(t, os.Remove(file+".002"))
	set, err := Open(t.Context(), []string{file})
	must(t, err)
	defer set.Close()
	coder := &countingCoder{Encoder: set.rebuild.coder}
	set.rebuild.coder = coder
	var group sync.WaitGroup
	for seed := range uint64(8) {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0))
			for range 100 {
				p := make([]byte, rng.IntN(40000)+1)
				offset := rng.Int64N(int64(len(s.data) - len(p)))
				if n, err := set.ReadAt(p, offset); err != nil || !bytes.Equal(p, s.data[offset:offset+int64(n)]) {
					t.Errorf("ReadAt(%d bytes, %d): %d, %v", len(p), offset, n, err)
				}
			}
		})
	}
	group.Wait()
	if blocks := (s.size + int64(set.rebuild.block) - 1) / int64(set.rebuild.block); coder.n.Load() != blocks {
		t.Errorf("rebuilt %d times, and there are %d blocks", coder.n.Load(), blocks)
	}
}

// More blocks than are kept: the oldest goes, and what is rebuilt again is right again.
func TestRebuildForgets(t *testing.T) {
	t.Parallel()
	s := split{someBytes(400<<10, 13), 100 << 10, 2}
	file := filepath.Join(t.TempDir(), "c")
	s.mustPack(t, file)
	must(t, errors.Join(os.Remove(file+".001"), os.Remove(file+".003")))
	set, err := Open(t.Context(), []string{file})
	must(t, err)
	defer set.Close()
	set.rebuild.block = 4 << 10
	set.rebuild.kept = 5
	for range 3 {
		wantReads(t, set, s.data)
		if len(set.rebuild.blocks) != 5 || len(set.rebuild.recent) != 5 {
			t.Errorf("%d blocks are kept", len(set.rebuild.blocks))
		}
	}
}

// A volume that gets shorter, or unreadable, after it was opened is an error, and not the end of the archive.
func TestVolumesChangeLater(t *testing.T) {
	t.Parallel()
	for _, lose := range []bool{false, true} {
		s := split{someBytes(4*2000, 14), 2000, 1}
		file := filepath.Join(t.TempDir(), "c")
		s.mustPack(t, file)
		if lose {
			must(t, os.Remove(file+".004"))
		}
		set, err := Open(t.Context(), []string{file})
		must(t, err)
		must(t, os.Truncate(file+".001", 100))
		for _, offset := range []int64{0, 6500} {
			if offset == 6500 && !lose {
				continue
			}
			for range 2 { // an error is not kept
				_, err = set.ReadAt(make([]byte, 1000), offset)
				if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "volume 1") {
					t.Errorf("at %d: %v", offset, err)
				}
			}
		}
		put(t, file+".001", string(s.data[:2000]))
		wantReads(t, set, s.data)
		must(t, set.Close())
		if _, err := set.ReadAt(make([]byte, 10), 0); !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

func TestOpenVolumesInterrupted(t *testing.T) {
	t.Parallel()
	s := split{someBytes(4*2000, 15), 2000, 1}
	file := filepath.Join(t.TempDir(), "c")
	s.mustPack(t, file)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if set, err := Open(ctx, []string{file}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", set, err)
	}
}

// A FIFO under the name of a volume blocks nobody.
func TestVolumesNoFiles(t *testing.T) {
	t.Parallel()
	s := split{someBytes(3*2000, 16), 2000, 1}
	file := filepath.Join(t.TempDir(), "c")
	s.mustPack(t, file)
	for _, name := range []string{".002", ".parity.001", listSuffix} {
		must(t, os.Remove(file+name))
		must(t, exec.CommandContext(t.Context(), "mkfifo", file+name).Run())
	}
	wantProblems(t, wantVolumesError(t, file), map[string]error{
		"c.parity.001": durable.ErrNotRegular, "c" + listSuffix: durable.ErrNotRegular,
	})
	must(t, os.Remove(file+listSuffix))
	wantProblems(t, wantVolumesError(t, file), map[string]error{
		"c.002": durable.ErrNotRegular, "c.parity.001": durable.ErrNotRegular,
	})
}

// What is whole is read as fast as files are.
func BenchmarkReadAt(b *testing.B) {
	const size, step = 8 << 20, 64 << 10
	data := someBytes(4*size, 17)
	dir := b.TempDir()
	file := filepath.Join(dir, "c")
	to, err := Claim(b.Context(), file, TargetOptions{Split: true})
	if err != nil {
		b.Fatal(err)
	}
	plan, err := NewPlan(file, int64(len(data)), "sum:x", size, 1)
	if err != nil {
		b.Fatal(err)
	}
	w, err := Create(dir, to, plan, durable.FS{})
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Commit(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	plain, err := os.Open(filepath.Join(dir, "c.001"))
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	run := func(b *testing.B, r io.ReaderAt, size int64) {
		b.Helper()
		b.ReportAllocs()
		b.SetBytes(step)
		p := make([]byte, step)
		offset := int64(0)
		for b.Loop() {
			if _, err := r.ReadAt(p, offset); err != nil {
				b.Fatal(err)
			}
			offset = (offset + step) % size
		}
	}
	b.Run("file", func(b *testing.B) { run(b, plain, size) })
	for _, lost := range []string{"", "c.002"} {
		if lost != "" {
			if err := os.Remove(filepath.Join(dir, lost)); err != nil {
				b.Fatal(err)
			}
		}
		set, err := Open(b.Context(), []string{filepath.Join(dir, "c")})
		if err != nil {
			b.Fatal(err)
		}
		b.Run("lost="+lost, func(b *testing.B) { run(b, set, set.Size()) })
		set.Close()
	}
}
