package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/quicktest"
)

var errFault = errors.New("injected fault")

// outcome opens what is there and says what it is.
func outcome(t *testing.T, file string, states map[string][]byte) string {
	t.Helper()
	set, err := Open(t.Context(), []string{file})
	var lost *LostError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "nothing"
	case errors.As(err, &lost), errors.Is(err, ErrMixed):
		return "known to be mixed"
	case err != nil:
		t.Fatal(err)
	}
	defer set.Close()
	got, err := io.ReadAll(io.NewSectionReader(set, 0, set.Size()))
	must(t, err)
	for _, name := range slices.Sorted(maps.Keys(states)) { // where both are the same it is the new one
		data := states[name]
		if bytes.Equal(got, data) {
			return name
		}
	}
	for name, data := range states {
		if set.ID() == "" && bytes.HasPrefix(data, got) {
			return "the beginning of " + name // the tar tells
		}
	}
	return "garbage"
}

// changes are what can become of what: an older set or nothing, and a set or one file in its place.
var changes = []struct {
	name string
	old  *split // nil for nothing
	next split
	into TargetOptions
}{
	{"nothing", nil, split{someBytes(2*2000+5, 10), 2000, 0}, TargetOptions{Split: true}},
	{"nothing, recovery", nil, split{someBytes(2*2000+5, 10), 2000, 2}, TargetOptions{Split: true}},
	{"a set", &split{someBytes(3*2000+5, 11), 2000, 0}, split{someBytes(2*2000+5, 10), 2000, 0}, TargetOptions{Split: true, Overwrite: true, Ours: anyFile}},
	{"a set, recovery", &split{someBytes(2000+5, 11), 2000, 1}, split{someBytes(2*2000+5, 10), 2000, 2}, TargetOptions{Split: true, Overwrite: true, Ours: anyFile}},
	{"the same set", &split{someBytes(2*2000+5, 10), 2000, 2}, split{someBytes(2*2000+5, 10), 2000, 2}, TargetOptions{Split: true, Overwrite: true, Ours: anyFile}},
	{"a set by one file", &split{someBytes(2*2000+5, 11), 2000, 1}, split{data: someBytes(2*2000+5, 10)}, TargetOptions{Overwrite: true, Ours: anyFile}},
}

// before makes what is there before, and returns what may be there at any time.
func before(t *testing.T, file string, old *split, next split) map[string][]byte {
	t.Helper()
	if old == nil {
		return map[string][]byte{"new": next.data}
	}
	old.mustPack(t, file)
	return map[string][]byte{"new": next.data, "old": old.data}
}

// linked returns another directory with the files of dir. They are the same files, for making files is what takes the time:
// whoever writes into one of them, instead of replacing it, changes it in dir too.
func linked(t *testing.T, dir string) string {
	t.Helper()
	other := t.TempDir()
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		to := filepath.Join(other, strings.TrimPrefix(path, dir))
		switch {
		case err != nil || path == dir:
			return err
		case entry.IsDir():
			return os.Mkdir(to, 0o755)
		default:
			return os.Link(path, to)
		}
	}))
	return other
}

// wantUnchanged says that nobody wrote into the files that directories have in common.
func wantUnchanged(t *testing.T, dir string, was map[string]string) {
	t.Helper()
	if !maps.Equal(readDir(t, dir), was) {
		t.Error("what was there was written to")
	}
}

// state says what is there; an archive in one file is found as it is by whoever reads.
func state(t *testing.T, file string, states map[string][]byte) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return outcome(t, file, states)
	}
	must(t, err)
	if !bytes.Equal(raw, states["new"]) {
		return "garbage"
	}
	return "new"
}

func wantState(t *testing.T, what, got string, hasOld bool) {
	t.Helper()
	if got != "new" && (hasOld && got != "old" || !hasOld && got != "nothing") {
		t.Errorf("%s: %s is there", what, got)
	}
}

// Each operation fails once. The old archive is there then, or the new one, and nothing else; the next run ends right.
func TestFaults(t *testing.T) {
	t.Parallel()
	step := quicktest.Rounds(2, 1)
	for i, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			origin := t.TempDir()
			states := before(t, filepath.Join(origin, "c"), c.old, c.next)
			was := readDir(t, origin)
			for at := 1 + i%step; ; at += step {
				dir := linked(t, origin)
				file := filepath.Join(dir, "c")
				var hits atomic.Int64
				var failed durable.Op
				err := c.next.packAs(t, file, durable.On(durable.WithFault(t.Context(), func(op durable.Op, _ string) error {
					if hits.Add(1) == int64(at) {
						failed = op
						return errFault
					}
					return nil
				})), c.into)
				if failed == "" {
					must(t, err)
					wantState(t, "without a fault", state(t, file, states), false)
					wantNoWork(t, dir)
					break
				}
				if !errors.Is(err, errFault) {
					t.Errorf("fault %d (%s): %v", at, failed, err)
				}
				got := state(t, file, states)
				wantState(t, fmt.Sprintf("fault %d (%s)", at, failed), got, c.old != nil)
				if err := c.next.packAs(t, file, durable.FS{}, c.into); err != nil && (!errors.Is(err, fs.ErrExist) || got != "new") {
					t.Errorf("fault %d (%s): the next run: %v", at, failed, err)
				}
				wantState(t, "after another run", state(t, file, map[string][]byte{"new": c.next.data}), false)
				wantNoWork(t, dir)
			}
			wantUnchanged(t, origin, was)
		})
	}
}

func wantNoWork(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(dir, ".work")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the work directory was left (%v)", err)
	}
}

// From one operation on every one fails, so that nothing can be undone, as when the medium is pulled out. Once it is back, the next
// run finds the old archive or the new one.
func TestFaultsToTheEnd(t *testing.T) {
	t.Parallel()
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			origin := t.TempDir()
			states := before(t, filepath.Join(origin, "c"), c.old, c.next)
			was := readDir(t, origin)
			for at := 1; ; at++ {
				file := filepath.Join(linked(t, origin), "c")
				var hits atomic.Int64
				err := c.next.packAs(t, file, durable.On(durable.WithFault(t.Context(), func(durable.Op, string) error {
					if hits.Add(1) >= int64(at) {
						return errFault
					}
					return nil
				})), c.into)
				if err == nil {
					break
				}
				must(t, Restore(t.Context(), durable.FS{}, file, filepath.Join(filepath.Dir(file), ".work")))
				wantState(t, fmt.Sprintf("from fault %d on", at), state(t, file, states), c.old != nil)
			}
			wantUnchanged(t, origin, was)
		})
	}
}

// A crash can come before any operation: what is there at that moment is kept, and is what the next run finds.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "c")
			states := before(t, file, c.old, c.next)
			seen := map[string]int{}
			must(t, c.next.packAs(t, file, durable.On(durable.WithFault(t.Context(), func(op durable.Op, path string) error {
				crashed := linked(t, dir)
				was := readDir(t, dir)
				file := filepath.Join(crashed, "c")
				read := state(t, file, states)
				if read == "garbage" {
					t.Errorf("before %s %s: %s", op, path, read)
				}
				must(t, Restore(t.Context(), durable.FS{}, file, filepath.Join(crashed, ".work")))
				got := state(t, file, states)
				if (read == "old" || read == "new") && got != read {
					t.Errorf("before %s %s: %s could be read, and then %s", op, path, read, got)
				}
				seen[got]++
				wantState(t, fmt.Sprintf("after a crash before %s %s", op, path), got, c.old != nil)
				if got == "old" && c.name != "the same set" && len(readDir(t, crashed)) != c.old.count()+c.old.parity+1 {
					t.Errorf("before %s %s: not the old files alone: %d", op, path, len(readDir(t, crashed)))
				}
				wantUnchanged(t, dir, was)
				return nil
			})), c.into))
			wantState(t, "in the end", state(t, file, states), false)
			if seen["new"] == 0 || seen["old"]+seen["nothing"] == 0 && c.name != "the same set" {
				t.Errorf("seen: %v", seen)
			}
		})
	}
}

// What somebody else put in the place of a volume while the others got their names is neither replaced nor lost; nor is
// what was there before.
func TestNamedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, c := range changes {
		for _, theirs := range []string{"c", "c.001", "c.002", "c.parity.001", "c.SHA256SUMS"} {
			if c.into.Split && theirs == "c" || !c.into.Split && theirs != "c" ||
				c.next.parity == 0 && strings.Contains(theirs, "parity") {
				continue // it needs no such name
			}
			t.Run(c.name+" "+theirs, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				file := filepath.Join(dir, "c")
				states := before(t, file, c.old, c.next)
				path := filepath.Join(dir, theirs)
				once := false
				err := c.next.packAs(t, file, durable.On(durable.WithFault(t.Context(), func(op durable.Op, at string) error {
					if op == durable.OpRename && at == path && !once {
						once = true
						must(t, os.WriteFile(path, []byte("theirs"), 0o600))
					}
					return nil
				})), c.into)
				var exists *ExistsError
				if !errors.As(err, &exists) || len(exists.Names) != 1 || exists.Names[0] != path {
					t.Errorf("got %v", err)
				}
				if raw, err := os.ReadFile(path); err != nil || string(raw) != "theirs" {
					t.Errorf("theirs is %q, %v", raw, err)
				}
				must(t, os.Remove(path))
				work := filepath.Join(dir, ".work")
				must(t, Restore(t.Context(), durable.FS{}, file, work))
				wantState(t, "in the end", state(t, file, states), c.old != nil)
			})
		}
	}
}

// An older volume that somebody changed after it was hashed is not moved away.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, o := range []TargetOptions{{Overwrite: true, Ours: anyFile}, {Overwrite: true, Split: true, Ours: anyFile}} {
		dir := t.TempDir()
		file := filepath.Join(dir, "c")
		split{someBytes(3*2000, 20), 2000, 0}.mustPack(t, file)
		next := split{someBytes(2*2000, 21), 2000, 0}
		changed := false
		err := next.packAs(t, file, durable.On(durable.WithFault(t.Context(), func(op durable.Op, _ string) error {
			if op == durable.OpSync && !changed {
				changed = true
				put(t, file+".002", "theirs")
			}
			return nil
		})), o)
		var exists *ExistsError
		if !errors.As(err, &exists) || exists.Names[0] != file+".002" {
			t.Errorf("%+v: %v", o, err)
		}
		if got := readDir(t, dir); got["c.002"] != "theirs" || o.Split && len(got) != 4 {
			t.Errorf("%+v: %d files, theirs is %.10q", o, len(got), got["c.002"])
		}
	}
}
