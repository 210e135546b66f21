package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// cacheBlob is an outcome of recompression, whose bytes are text.
func cacheBlob(text string) buildcache.Blob {
	return buildcache.Blob{
		Digest: digest.FromString(text), Size: int64(len(text)), Compression: buildcache.Zstd,
		DiffID: digest.FromString("tar of " + text),
	}
}

func recipe(n int) layout.Recipe {
	return layout.Recipe{From: digest.FromString(fmt.Sprint("from", n)), Compression: buildcache.Zstd, Level: n, Version: "v1"}
}

func remember(t *testing.T, dir *layout.Dir, r layout.Recipe, outcome buildcache.Blob) {
	t.Helper()
	if err := dir.Remember(t.Context(), r, outcome); err != nil {
		t.Fatal(err)
	}
}

// wantRecalled wants a layout to remember just these outcomes, by their level.
func wantRecalled(t *testing.T, dir *layout.Dir, want map[int]buildcache.Blob) {
	t.Helper()
	got, err := dir.Recall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n, blob := range want {
		if got[recipe(n)] != blob {
			t.Errorf("recipe %d: %v, want %v", n, got[recipe(n)], blob)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d recipes, want %d: %v", len(got), len(want), got)
	}
}

// rememberer returns a layout that holds three blobs, and their outcomes.
func rememberer(t *testing.T) (dir *layout.Dir, journal string, outcomes map[int]buildcache.Blob) {
	t.Helper()
	h := byHand(t)
	outcomes = map[int]buildcache.Blob{}
	for n := range 3 {
		h.blob("", fmt.Sprint("blob", n))
		outcomes[n] = cacheBlob(fmt.Sprint("blob", n))
	}
	if err := os.Mkdir(filepath.Join(h.path, ".ocicache"), 0o755); err != nil {
		t.Fatal(err)
	}
	return h.open(), filepath.Join(h.path, ".ocicache", "journal"), outcomes
}

func TestJournal(t *testing.T) {
	t.Parallel()
	dir, _, outcomes := rememberer(t)
	wantRecalled(t, dir, nil)
	estargz := outcomes[2]
	estargz.Compression, estargz.TOCDigest, estargz.UncompressedSize = buildcache.Estargz, digest.FromString("toc"), 77
	estargzRecipe := recipe(2)
	estargzRecipe.Compression = buildcache.Estargz
	remember(t, dir, recipe(0), outcomes[0])
	remember(t, dir, recipe(1), cacheBlob("first outcome, which is gone"))
	remember(t, dir, recipe(1), outcomes[1])
	remember(t, dir, estargzRecipe, estargz)
	got, err := dir.Recall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[recipe(0)] != outcomes[0] || got[recipe(1)] != outcomes[1] || got[estargzRecipe] != estargz {
		t.Errorf("recalled %v", got)
	}
	// Everything that the bytes depend on tells recipes apart.
	for _, other := range []layout.Recipe{
		{From: digest.FromString("x"), Compression: buildcache.Zstd, Version: "v1"},
		{From: recipe(0).From, Compression: buildcache.Gzip, Version: "v1"},
		{From: recipe(0).From, Compression: buildcache.Zstd, Level: 5, Version: "v1"},
		{From: recipe(0).From, Compression: buildcache.Zstd, Version: "v2"},
	} {
		if blob, ok := got[other]; ok {
			t.Errorf("%v gives %v", other, blob)
		}
	}
}

// Whatever else stands in the journal, the lines that can be used are.
func TestJournalWithHostileLines(t *testing.T) {
	t.Parallel()
	line := func(n int, outcome string) string {
		return fmt.Sprintf(`{"from":%q,"compression":"zstd","level":%d,"version":"v1",%s}`, recipe(n).From, n, outcome)
	}
	diffID := fmt.Sprintf(`"diffID":%q`, digest.FromString("tar"))
	for _, test := range []struct{ name, lines string }{
		{"torn", `{"from":"sha256:0123`},
		{"torn in the middle", `{"from":"sha256:01` + `{"from":"sha256:0123"}`},
		{"empty lines", "\n\n\n"},
		{"no JSON", "\x00\xff\x01 garbage"},
		{"other JSON", `[1,2]` + "\n" + `"text"` + "\nnull\n{}"},
		{"wrong types", line(9, `"digest":17,"size":"big",`+diffID)},
		{"digest that leads elsewhere", line(9, `"digest":"sha256:../../../../etc/hostname","size":1,`+diffID)},
		{"digest of another kind", line(9, `"digest":"md5:00000000000000000000000000000000","size":1,`+diffID)},
		{"blob that is gone", line(9, fmt.Sprintf(`"digest":%q,"size":4,%s`, digest.FromString("gone"), diffID))},
		{"blob of another size", line(9, fmt.Sprintf(`"digest":%q,"size":4,%s`, digest.FromString("blob0"), diffID))},
		{"negative size", line(9, fmt.Sprintf(`"digest":%q,"size":-1,%s`, digest.FromString("blob0"), diffID))},
		{"no diffID", line(9, fmt.Sprintf(`"digest":%q,"size":5`, digest.FromString("blob0")))},
		{"diffID that is none", line(9, fmt.Sprintf(`"digest":%q,"size":5,"diffID":"sha256:x"`, digest.FromString("blob0")))},
		{"longer than any buffer", `{"from":"` + strings.Repeat("x", 3<<20) + `"}`},
		{"deeply nested", strings.Repeat(`{"a":`, 20000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, journal, outcomes := rememberer(t)
			remember(t, dir, recipe(0), outcomes[0])
			before, err := os.ReadFile(journal)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(journal, append(before, test.lines...), 0o644); err != nil { // without an end of line
				t.Fatal(err)
			}
			remember(t, dir, recipe(1), outcomes[1])
			wantRecalled(t, dir, map[int]buildcache.Blob{0: outcomes[0], 1: outcomes[1]})
		})
	}
}

// A journal does not grow for ever.
func TestJournalStartsAnew(t *testing.T) {
	t.Parallel()
	dir, journal, outcomes := rememberer(t)
	remember(t, dir, recipe(0), outcomes[0])
	if err := os.Truncate(journal, 40<<20); err != nil { // zeros, which are one long line
		t.Fatal(err)
	}
	wantRecalled(t, dir, map[int]buildcache.Blob{0: outcomes[0]})
	remember(t, dir, recipe(1), outcomes[1])
	remember(t, dir, recipe(2), outcomes[2])
	wantRecalled(t, dir, map[int]buildcache.Blob{1: outcomes[1], 2: outcomes[2]})
	if info, err := os.Stat(journal); err != nil || info.Size() > 1<<20 {
		t.Errorf("the journal has %d bytes (%v)", info.Size(), err)
	}
}

func TestJournalConcurrently(t *testing.T) {
	t.Parallel()
	dir, _, outcomes := rememberer(t)
	want := map[int]buildcache.Blob{}
	var group sync.WaitGroup
	for n := range 100 {
		outcome := outcomes[n%3]
		want[n] = outcome
		group.Go(func() {
			if err := dir.Remember(t.Context(), recipe(n), outcome); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	wantRecalled(t, dir, want)
}

// The journal of a hostile layout may be any kind of file. It is not followed elsewhere, nor waited for.
func TestJournalIsNoFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		make func(path, outside string) error
	}{
		{"symbolic link", func(path, outside string) error { return os.Symlink(outside, path) }},
		{"symbolic link to nowhere", func(path, outside string) error { return os.Symlink(outside+".none", path) }},
		{"FIFO", func(path, _ string) error { return syscall.Mkfifo(path, 0o644) }},
		{"directory", func(path, _ string) error { return os.Mkdir(path, 0o755) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, journal, outcomes := rememberer(t)
			outside := filepath.Join(t.TempDir(), "outside")
			remember(t, dir, recipe(0), outcomes[0]) // outside is a journal that would be believed
			if err := errors.Join(os.Rename(journal, outside), test.make(journal, outside)); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(outside)
			if err != nil {
				t.Fatal(err)
			}
			if err := dir.Remember(t.Context(), recipe(1), outcomes[1]); err == nil {
				t.Error("it was written to")
			}
			if recalled, err := dir.Recall(t.Context()); len(recalled) > 0 {
				t.Errorf("recalled %v (%v)", recalled, err)
			}
			if after, err := os.ReadFile(outside); err != nil || !bytes.Equal(after, before) {
				t.Errorf("outside holds %q (%v)", after, err)
			}
			if _, err := os.Stat(outside + ".none"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a file was made outside (%v)", err)
			}
		})
	}
}
