package volumes

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/internal/durable"
)

// FuzzVolumeName takes any name apart. What is taken for a volume has the name that such a volume gets.
func FuzzVolumeName(f *testing.F) {
	for _, name := range []string{
		"a.tar", "a.tar.001", "a.tar.0100", "a.tar.parity.001", "a.tar.parity.256", "a.tar.SHA256SUMS", ".001", ".parity.001", "a..001",
		"a.tar.099999999999", "a.parity.001.001", ".SHA256SUMS", "a.tar.1", "a.tar.parity.0001",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, base string) {
		name, ok := parseVolumeName(base)
		if !ok {
			return
		}
		again := volumeFile(name.stem, name.number, name.digits)
		switch name.kind {
		case kindRecovery:
			again = recoveryFile(name.stem, name.number)
		case kindList:
			again = name.stem + listSuffix
		case kindVolume:
		}
		if again != base || name.stem == "" || name.kind != kindList && name.number < 1 {
			t.Errorf("%q is taken for %+v, whose name is %q", base, name, again)
		}
	})
}

// FuzzOpen opens a set whose list, second volume and recovery volume are any bytes, any of them left out. What opens is
// what was packed, unless the list is another one.
func FuzzOpen(f *testing.F) {
	packed := split{data: someBytes(2500, 9), size: 1024, parity: 1}
	dir := f.TempDir()
	file := filepath.Join(dir, "cache.tar")
	packForFuzz(f, packed, file)
	read := func(name string) []byte {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		return raw
	}
	first, second, third := read(packed.name(file, 0)), read(packed.name(file, 1)), read(packed.name(file, 2))
	list, recovery := read(file+listSuffix), read(packed.name(file, 3))
	f.Add(list, second, recovery)
	f.Add(list, []byte{}, recovery)
	f.Add([]byte{}, []byte{}, recovery)
	f.Add([]byte{}, second, []byte{})
	f.Add(list, second[:1023], recovery)
	f.Add(list[:100], second, recovery[:len(recovery)-1])
	f.Fuzz(func(t *testing.T, anyList, anySecond, anyRecovery []byte) {
		around := t.TempDir()
		file := filepath.Join(around, "cache.tar")
		for name, raw := range map[string][]byte{
			packed.name(file, 0): first, packed.name(file, 1): anySecond, packed.name(file, 2): third,
			file + listSuffix: anyList, packed.name(file, 3): anyRecovery,
		} {
			if len(raw) == 0 {
				continue
			}
			if err := os.WriteFile(name, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		set, err := Open(t.Context(), []string{file})
		if err != nil {
			return
		}
		defer set.Close()
		if set.Size() > int64(len(first)+len(anySecond)+len(third)+len(anyRecovery)) {
			t.Errorf("%d bytes are promised", set.Size())
		}
		got, err := io.ReadAll(io.NewSectionReader(set, 0, set.Size()))
		if err != nil && len(got) > 0 && !bytes.Equal(got, packed.data[:len(got)]) {
			t.Errorf("%d wrong bytes before %v", len(got), err)
		}
		if bytes.Equal(anyList, list) && (err != nil || !bytes.Equal(got, packed.data)) {
			t.Errorf("opened with its list it is %d other bytes (%v)", len(got), err)
		}
	})
}

func packForFuzz(f *testing.F, s split, file string) {
	f.Helper()
	work := filepath.Join(filepath.Dir(file), ".work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		f.Fatal(err)
	}
	to, err := Claim(f.Context(), file, TargetOptions{Split: true})
	if err != nil {
		f.Fatal(err)
	}
	plan, err := NewPlan(file, int64(len(s.data)), s.id(), s.size, s.parity)
	if err != nil {
		f.Fatal(err)
	}
	w, err := Create(work, to, plan, durable.FS{})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := w.Write(s.data); err != nil {
		f.Fatal(err)
	}
	if err := w.Commit(f.Context()); err != nil {
		f.Fatal(err)
	}
	if err := os.Remove(work); err != nil {
		f.Fatal(err)
	}
}
