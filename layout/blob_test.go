package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// sources are the ways in which bytes come to Put: from anywhere, from a file, and from a file that may be linked.
var sources = []struct {
	name string
	link bool
	open func(t *testing.T, text string) layout.OpenFunc
}{
	{"stream", false, func(_ *testing.T, text string) layout.OpenFunc { return layout.OpenBytes([]byte(text)) }},
	{"file", false, openFile},
	{"link", true, openFile},
}

func openFile(t *testing.T, text string) layout.OpenFunc {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(text), 0o444); err != nil {
		t.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return os.Open(path) }
}

// wantBlob wants a blob to be there as BuildKit would have written it, or, for nil, not to be there.
func wantBlob(t *testing.T, dir *layout.Dir, d digest.Digest, want *string) {
	t.Helper()
	path := blobPath(dir.String(), d)
	info, err := os.Lstat(path)
	if want == nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is a blob %s (%v)", d, err)
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	if info.Mode() != 0o444 {
		t.Errorf("mode %v, want 0444", info.Mode())
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != *want {
		t.Errorf("blob holds %q (%v), want %q", got, err, *want)
	}
}

func TestPut(t *testing.T) {
	t.Parallel()
	const text = "the right bytes"
	right := buildcache.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	short, long := right, right
	short.Size--
	long.Size++
	sha512 := right
	sha512.Digest = digest.SHA512.FromString(text)
	for _, test := range []struct {
		name string
		blob buildcache.Descriptor
		text string
		good bool
	}{
		{"right", right, text, true},
		{"sha512", sha512, text, true},
		{"empty", buildcache.Descriptor{Digest: digest.FromString("")}, "", true},
		{"other bytes", right, "the wrong bytes", false},
		{"too few bytes", right, text[1:], false},
		{"too many bytes", right, text + "!", false},
		{"no bytes", right, "", false},
		{"descriptor says less", short, text, false},
		{"descriptor says more", long, text, false},
	} {
		for _, source := range sources {
			t.Run(test.name+"/"+source.name, func(t *testing.T) {
				t.Parallel()
				path := layouttest.Create(t).String()
				dir := openWith(t, path, layout.Options{Link: source.link})
				err := dir.Put(t.Context(), test.blob, source.open(t, test.text))
				wantNoTemporary(t, path)
				if !test.good {
					var blob *layout.BlobError
					if !errors.As(err, &blob) || blob.Digest != test.blob.Digest ||
						!errors.Is(err, layout.ErrBlobDamaged) && !errors.Is(err, layout.ErrBlobSize) {
						t.Errorf("got %v, want a *BlobError for damage or size", err)
					}
					wantBlob(t, dir, test.blob.Digest, nil)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				wantBlob(t, dir, test.blob.Digest, &test.text)
				if has, err := dir.Has(t.Context(), test.blob); err != nil || !has {
					t.Errorf("Has: %v %v", has, err)
				}
			})
		}
	}
}

// A source that fails leaves nothing behind, and its error comes through.
func TestPutFromBrokenSource(t *testing.T) {
	t.Parallel()
	dir := layouttest.Create(t)
	blob, _ := bytesOf("the right bytes")
	broken := errors.New("broken pipe")
	for name, open := range map[string]layout.OpenFunc{
		"open": func() (io.ReadCloser, error) { return nil, broken },
		"read": func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("the right"), errReader{broken})), nil
		},
	} {
		if err := dir.Put(t.Context(), blob, open); !errors.Is(err, broken) {
			t.Errorf("%s: got %v", name, err)
		}
		wantBlob(t, dir, blob.Digest, nil)
		wantNoTemporary(t, dir.String())
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// Whatever lies in a blob's place with another size is replaced, and never written through.
func TestPutReplaces(t *testing.T) {
	t.Parallel()
	const text = "the right bytes"
	for _, test := range []struct {
		name string
		make func(path, outside string) error
	}{
		{"truncated blob", func(path, _ string) error { return os.WriteFile(path, []byte("the ri"), 0o444) }},
		{"link to a file", func(path, outside string) error { return os.Symlink(outside, path) }},
		{"link to nowhere", func(path, outside string) error { return os.Symlink(outside+".none", path) }},
		{"FIFO", func(path, _ string) error { return syscall.Mkfifo(path, 0o644) }},
		{"hard link", func(path, outside string) error { return os.Link(outside, path) }},
	} {
		for _, source := range sources {
			t.Run(test.name+"/"+source.name, func(t *testing.T) {
				t.Parallel()
				h := byHand(t)
				blob, _ := bytesOf(text)
				outside := filepath.Join(t.TempDir(), "outside")
				if err := errors.Join(os.WriteFile(outside, []byte("outside"), 0o644), test.make(h.blobPath(blob.Digest), outside)); err != nil {
					t.Fatal(err)
				}
				dir := openWith(t, h.path, layout.Options{Link: source.link})
				if has, err := dir.Has(t.Context(), blob); err != nil || has {
					t.Errorf("Has: %v %v", has, err)
				}
				if err := dir.Put(t.Context(), blob, source.open(t, text)); err != nil {
					t.Fatal(err)
				}
				wantBlob(t, dir, blob.Digest, new(text))
				if got, err := os.ReadFile(outside); err != nil || string(got) != "outside" {
					t.Errorf("outside holds %q (%v)", got, err)
				}
				if _, err := os.Stat(outside + ".none"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a file was made outside (%v)", err)
				}
				wantNoTemporary(t, h.path)
			})
		}
	}
}

// Bytes that were damaged on the disk keep their size. Whoever has the right ones mends them, instead of sharing the
// damage.
func TestDamagedBlobIsWrittenAgain(t *testing.T) {
	t.Parallel()
	const text = "the right bytes"
	blob, _ := bytesOf(text)
	damaged := func(t *testing.T) handmade {
		t.Helper()
		h := byHand(t)
		if err := os.WriteFile(h.blobPath(blob.Digest), []byte("the wrong bytes"), 0o444); err != nil {
			t.Fatal(err)
		}
		return h
	}
	for _, source := range sources {
		t.Run("put "+source.name, func(t *testing.T) {
			t.Parallel()
			h := damaged(t)
			dir := openWith(t, h.path, layout.Options{Link: source.link})
			if err := dir.Put(t.Context(), blob, source.open(t, text)); err != nil {
				t.Fatal(err)
			}
			wantBlob(t, dir, blob.Digest, new(text))
			wantNoTemporary(t, h.path)
		})
		t.Run("put the same damage "+source.name, func(t *testing.T) {
			t.Parallel()
			h := damaged(t)
			dir := openWith(t, h.path, layout.Options{Link: source.link})
			if err := dir.Put(t.Context(), blob, source.open(t, "the wrong bytes")); !errors.Is(err, layout.ErrBlobDamaged) {
				t.Errorf("got %v", err)
			}
			wantNoTemporary(t, h.path)
		})
	}
	t.Run("ingest", func(t *testing.T) {
		t.Parallel()
		h := damaged(t)
		got, err := h.open().Ingest(t.Context(), func(w io.Writer) error { _, err := w.Write([]byte(text)); return err })
		if err != nil || got.Digest != blob.Digest {
			t.Errorf("%v %v", got, err)
		}
		wantBlob(t, h.open(), blob.Digest, new(text))
		wantNoTemporary(t, h.path)
	})
}

// A directory in a blob's place is nothing that could be replaced without losing what is in it.
func TestPutOntoDirectory(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	blob, open := bytesOf("text")
	if err := os.Mkdir(h.blobPath(blob.Digest), 0o755); err != nil {
		t.Fatal(err)
	}
	var e *layout.BlobError
	if err := h.open().Put(t.Context(), blob, open); !errors.As(err, &e) {
		t.Errorf("got %v, want a *BlobError", err)
	}
	if _, err := h.open().Open(t.Context(), blob); !errors.As(err, &e) {
		t.Errorf("got %v, want a *BlobError", err)
	}
	wantNoTemporary(t, h.path)
}

// A blob that is there with its size is not copied again, be it through a symbolic link.
func TestPutOfWhatIsThere(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	elsewhere := byHand(t)
	plain, linked := h.blob("", "plain"), elsewhere.blob("", "linked")
	if err := os.Symlink(elsewhere.blobPath(linked.Digest), h.blobPath(linked.Digest)); err != nil {
		t.Fatal(err)
	}
	before := layouttest.Tree(t, h.path)
	for _, blob := range []buildcache.Descriptor{plain, linked} {
		content := &opener{}
		if err := h.open().Put(t.Context(), blob, content.open); err != nil || content.opened > 0 {
			t.Errorf("%v after %d openings", err, content.opened)
		}
	}
	layouttest.WantTree(t, h.path, before)
}

func TestPutClosesItsSource(t *testing.T) {
	t.Parallel()
	dir := layouttest.Create(t)
	blob, _ := bytesOf("text")
	for _, text := range []string{"wrong", "text"} {
		content := &opener{text: text}
		err := dir.Put(t.Context(), blob, content.open)
		if content.opened != 1 || content.closed != 1 {
			t.Errorf("%q: opened %d times, closed %d times (%v)", text, content.opened, content.closed, err)
		}
	}
}

func TestPutFaults(t *testing.T) {
	t.Parallel()
	for _, source := range sources {
		t.Run(source.name, func(t *testing.T) {
			t.Parallel()
			const text = "the right bytes"
			blob, _ := bytesOf(text)
			for n := 1; ; n++ {
				path := byHand(t).path
				broken, fired := failNth(n)
				dir := openWith(t, path, layout.Options{Link: source.link})
				err := dir.Put(durable.WithFault(t.Context(), broken), blob, source.open(t, text))
				if !fired() {
					if err != nil || n < 3 {
						t.Errorf("ends after %d operations with %v", n, err)
					}
					return
				}
				if !errors.Is(err, errFault) {
					t.Fatalf("operation %d: %v, want the fault", n, err)
				}
				wantNoTemporary(t, path)
				// The right bytes may be there, others never.
				if got, err := os.ReadFile(blobPath(path, blob.Digest)); err == nil && string(got) != text {
					t.Errorf("operation %d leaves a blob %q", n, got)
				}
				if err := open(t, path).Put(t.Context(), blob, source.open(t, text)); err != nil {
					t.Error(err)
				}
				wantBlob(t, dir, blob.Digest, new(text))
			}
		})
	}
}

func TestPutEndsWithItsContext(t *testing.T) {
	t.Parallel()
	const text = "the right bytes"
	for _, source := range sources {
		t.Run(source.name, func(t *testing.T) {
			t.Parallel()
			path := layouttest.Create(t).String()
			dir := openWith(t, path, layout.Options{Link: source.link})
			blob, _ := bytesOf(text)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := dir.Put(ctx, blob, source.open(t, text)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			wantBlob(t, dir, blob.Digest, nil)
			wantNoTemporary(t, path)
		})
	}
}

// canReflink reports whether files in temporary directories can share blocks.
func canReflink(t *testing.T) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o644); err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), "cp", "--reflink=always", path, path+"2").Run() == nil
}

// patience is a context that is done once it was asked a number of times, and then calls done.
type patience struct {
	context.Context //nolint:containedctx // it is one itself
	left            int
	done            func()
}

func (p *patience) Err() error {
	if p.left--; p.left > 0 {
		return nil
	}
	if p.left == 0 {
		p.done()
	}
	return context.Canceled
}

// The kernel copies, and it could copy for minutes.
func TestPutOfHugeFileCanBeInterrupted(t *testing.T) {
	t.Parallel()
	const size = 200 << 20
	path := filepath.Join(t.TempDir(), "huge")
	if err := errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	if canReflink(t) {
		t.Skip("NOT TESTED: this file system shares blocks, so that nothing is copied")
	}
	dir := layouttest.Create(t)
	var written int64
	ctx := &patience{Context: t.Context(), left: 4, done: func() {
		left, err := dir.Leftovers()
		if err != nil || len(left) != 1 {
			t.Errorf("temporary files %q (%v)", left, err)
			return
		}
		if info, err := os.Stat(left[0]); err == nil {
			written = info.Size()
		}
	}}
	blob := buildcache.Descriptor{Digest: digest.FromString("huge"), Size: size}
	if err := dir.Put(ctx, blob, func() (io.ReadCloser, error) { return os.Open(path) }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if written == 0 || written == size {
		t.Errorf("interrupted after %d bytes of %d", written, size)
	}
	wantNoTemporary(t, dir.String())
}

func TestPutConcurrently(t *testing.T) {
	t.Parallel()
	dir := layouttest.Create(t)
	blob, open := bytesOf(strings.Repeat("the right bytes", 10000))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := dir.Put(t.Context(), blob, open); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	wantBlob(t, dir, blob.Digest, new(strings.Repeat("the right bytes", 10000)))
	wantNoTemporary(t, dir.String())
}

func TestLink(t *testing.T) {
	t.Parallel()
	src, dst := byHand(t), layouttest.Create(t)
	blob := src.blob("", "linked")
	from := src.open()
	put := func(options layout.Options) {
		dir := openWith(t, dst.String(), options)
		if err := dir.Put(t.Context(), blob, func() (io.ReadCloser, error) { return from.Open(t.Context(), blob) }); err != nil {
			t.Fatal(err)
		}
	}
	put(layout.Options{Link: true})
	if !sameFile(t, src.blobPath(blob.Digest), blobPath(dst.String(), blob.Digest)) {
		t.Error("with Link there are two files")
	}
	if err := os.Remove(blobPath(dst.String(), blob.Digest)); err != nil {
		t.Fatal(err)
	}
	put(layout.Options{})
	if sameFile(t, src.blobPath(blob.Digest), blobPath(dst.String(), blob.Digest)) {
		t.Error("without Link there is one file")
	}
	wantBlob(t, dst, blob.Digest, new("linked"))
}

// A source's blob that is a symbolic link: what is linked is the file, or the new layout would depend on the old one.
func TestLinkFollowsSymbolicLinks(t *testing.T) {
	t.Parallel()
	src, elsewhere, dst := byHand(t), byHand(t), layouttest.Create(t)
	blob := elsewhere.blob("", "linked")
	if err := os.Symlink(elsewhere.blobPath(blob.Digest), src.blobPath(blob.Digest)); err != nil {
		t.Fatal(err)
	}
	from, dir := src.open(), openWith(t, dst.String(), layout.Options{Link: true})
	if err := dir.Put(t.Context(), blob, func() (io.ReadCloser, error) { return from.Open(t.Context(), blob) }); err != nil {
		t.Fatal(err)
	}
	if !sameFile(t, elsewhere.blobPath(blob.Digest), blobPath(dst.String(), blob.Digest)) {
		t.Error("it is not the file that the symbolic link points to")
	}
	wantBlob(t, dst, blob.Digest, new("linked"))
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	infoA, errA := os.Lstat(a)
	infoB, errB := os.Lstat(b)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	return os.SameFile(infoA, infoB)
}

// Across file systems nothing can be linked or shared, so that bytes are copied.
func TestPutAcrossFileSystems(t *testing.T) {
	t.Parallel()
	other, err := os.MkdirTemp("/dev/shm", "ocicache-test-") //nolint:usetesting // it is to be on another file system
	if err != nil {
		t.Skipf("NOT TESTED: no second file system: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(other); err != nil {
			t.Error(err)
		}
	})
	src := byHand(t)
	text := strings.Repeat("across", 100000)
	blob := src.blob("", text)
	if device(t, other) == device(t, src.path) {
		t.Skip("NOT TESTED: /dev/shm is on the same file system as the temporary directory")
	}
	from := src.open()
	for _, link := range []bool{false, true} {
		dir, err := layout.Create(t.Context(), filepath.Join(other, fmt.Sprint("link", link)), layout.Options{Link: link})
		if err != nil {
			t.Fatal(err)
		}
		if err := dir.Put(t.Context(), blob, func() (io.ReadCloser, error) { return from.Open(t.Context(), blob) }); err != nil {
			t.Fatal(err)
		}
		wantBlob(t, dir, blob.Digest, new(text))
		wantNoTemporary(t, dir.String())
	}
}

func device(t *testing.T, path string) uint64 {
	t.Helper()
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return uint64(stat.Dev) //nolint:unconvert // not everywhere is it one
}

// Where one blob can't be linked, because the file has no more room for names, it is copied.
func TestLinkWhereThereAreTooMany(t *testing.T) {
	t.Parallel()
	const text = "the right bytes"
	blob, _ := bytesOf(text)
	for _, errno := range []error{syscall.EMLINK, syscall.EPERM, syscall.EXDEV, syscall.EOPNOTSUPP} {
		tried := 0
		dir := openWith(t, layouttest.Create(t).String(), layout.Options{Link: true})
		ctx := durable.WithFault(t.Context(), func(op durable.Op, _ string) error {
			if op == durable.OpLink {
				tried++
				return errno
			}
			return nil
		})
		if err := dir.Put(ctx, blob, openFile(t, text)); err != nil || tried != 1 {
			t.Errorf("%v: %v after %d tries to link", errno, err, tried)
		}
		wantBlob(t, dir, blob.Digest, new(text))
	}
}

func TestIngest(t *testing.T) {
	t.Parallel()
	dir := layouttest.Create(t)
	text := strings.Repeat("some bytes", 1000)
	write := func(w io.Writer) error {
		_, err := io.Copy(w, strings.NewReader(text))
		return err
	}
	want := buildcache.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	for range 2 { // the second time it is there
		got, err := dir.Ingest(t.Context(), write)
		if err != nil || got.Digest != want.Digest || got.Size != want.Size {
			t.Errorf("got %v (%v), want %v", got, err, want)
		}
		wantBlob(t, dir, want.Digest, new(text))
		wantNoTemporary(t, dir.String())
	}
	// One of another size in its place is none.
	if err := errors.Join(os.Remove(blobPath(dir.String(), want.Digest)), os.WriteFile(blobPath(dir.String(), want.Digest), nil, 0o444)); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Ingest(t.Context(), write); err != nil {
		t.Error(err)
	}
	wantBlob(t, dir, want.Digest, new(text))

	before := layouttest.Tree(t, dir.String())
	failed := errors.New("failed")
	_, err := dir.Ingest(t.Context(), func(w io.Writer) error {
		if _, err := w.Write([]byte("half")); err != nil {
			return err
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	layouttest.WantTree(t, dir.String(), before)
}

func TestIngestFaults(t *testing.T) {
	t.Parallel()
	const text = "some bytes"
	for n := 1; ; n++ {
		path := byHand(t).path
		broken, fired := failNth(n)
		ingest := func(ctx context.Context) (buildcache.Descriptor, error) {
			return open(t, path).Ingest(ctx, func(w io.Writer) error { _, err := w.Write([]byte(text)); return err })
		}
		_, err := ingest(durable.WithFault(t.Context(), broken))
		if !fired() {
			if err != nil || n < 5 {
				t.Errorf("ends after %d operations with %v", n, err)
			}
			return
		}
		if !errors.Is(err, errFault) {
			t.Fatalf("operation %d: %v, want the fault", n, err)
		}
		wantNoTemporary(t, path)
		if got, err := ingest(t.Context()); err != nil || got.Digest != digest.FromString(text) {
			t.Errorf("after a fault of operation %d: %v %v", n, got, err)
		}
	}
}

// Blobs are made in the layout's own corner: BuildKit's reset deletes what it does not know in blobs/, and takes
// ingest/ for its own.
func TestNothingElseIsWritten(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	before := layouttest.Tree(t, h.path)
	seen := map[string]bool{}
	dir := h.open()
	ctx := durable.WithFault(t.Context(), func(durable.Op, string) error {
		for path := range layouttest.Tree(t, h.path) {
			if _, was := before[path]; !was {
				seen[path] = true
			}
		}
		return nil
	})
	blob, content := bytesOf("text")
	if err := dir.Put(ctx, blob, content); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Ingest(ctx, func(w io.Writer) error { _, err := w.Write([]byte("more")); return err }); err != nil {
		t.Fatal(err)
	}
	for path := range seen {
		inBlobs := strings.HasPrefix(path, "blobs/sha256/") && len(filepath.Base(path)) == 64
		if !inBlobs && path != ".ocicache" && !strings.HasPrefix(path, ".ocicache/tmp-") {
			t.Errorf("%s was made", path)
		}
	}
	if len(seen) < 3 {
		t.Errorf("only %v was seen", seen)
	}
}

func TestOpenFile(t *testing.T) {
	t.Parallel()
	h, elsewhere := byHand(t), byHand(t)
	plain, linked := h.blob("", "plain"), elsewhere.blob("", "linked")
	damaged := elsewhere.blob("", "damaged")
	fifo, gone, dangling := digest.FromString("fifo"), digest.FromString("gone"), digest.FromString("dangling")
	directory := digest.FromString("directory")
	if err := errors.Join(
		os.Symlink(elsewhere.blobPath(linked.Digest), h.blobPath(linked.Digest)),
		os.WriteFile(h.blobPath(damaged.Digest), []byte("changed"), 0o444),
		syscall.Mkfifo(h.blobPath(fifo), 0o644),
		os.Symlink("nowhere", h.blobPath(dangling)),
		os.Mkdir(h.blobPath(directory), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	dir := h.open()
	for _, test := range []struct {
		name    string
		blob    digest.Digest
		want    string // what is read
		failure bool
		missing bool
		damaged bool // seen only by those who verify
	}{
		{name: "plain", blob: plain.Digest, want: "plain"},
		{name: "symbolic link", blob: linked.Digest, want: "linked"},
		{name: "damaged", blob: damaged.Digest, want: "changed", damaged: true},
		{name: "gone", blob: gone, failure: true, missing: true},
		{name: "symbolic link to nowhere", blob: dangling, failure: true, missing: true},
		{name: "FIFO", blob: fifo, failure: true, missing: true},
		{name: "directory", blob: directory, failure: true, missing: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := buildcache.Descriptor{Digest: test.blob, Size: int64(len(test.want))}
			file, err := dir.OpenFile(t.Context(), d)
			if test.failure {
				var e *layout.BlobError
				if !errors.As(err, &e) || e.Digest != test.blob || e.Place != h.path || errors.Is(err, layout.ErrBlobMissing) != test.missing {
					t.Fatalf("OpenFile: %v", err)
				}
				r, err := dir.Open(t.Context(), d)
				if r != nil || !errors.As(err, &e) {
					t.Errorf("Open: %v %v", r, err)
				}
				if has, err := dir.Has(t.Context(), d); has || err != nil {
					t.Errorf("Has: %v %v", has, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(file)
			if err := errors.Join(err, file.Close()); err != nil || string(got) != test.want {
				t.Errorf("read %q (%v), want %q", got, err, test.want)
			}
			_, err = layout.ReadBlob(t.Context(), dir, d, 100)
			if errors.Is(err, layout.ErrBlobDamaged) != test.damaged || (err == nil) == test.damaged {
				t.Errorf("ReadBlob: %v", err)
			}
		})
	}
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	a, b := h.blob("", "a"), h.blob("", "b")
	sha512 := digest.SHA512.FromString("c")
	if err := errors.Join(
		os.Mkdir(filepath.Join(h.path, "blobs", "sha512"), 0o755),
		os.WriteFile(h.blobPath(sha512), []byte("c"), 0o444),
		// None of these is a blob.
		os.WriteFile(filepath.Join(h.path, "blobs", "sha256", "stray"), nil, 0o644),
		os.WriteFile(filepath.Join(h.path, "blobs", "sha256", strings.Repeat("A", 64)), nil, 0o644),
		os.Mkdir(h.blobPath(digest.FromString("directory")), 0o755),
		os.Symlink("nowhere", h.blobPath(digest.FromString("dangling"))),
		syscall.Mkfifo(h.blobPath(digest.FromString("fifo")), 0o644),
		os.WriteFile(filepath.Join(h.path, "blobs", "file"), nil, 0o644),
	); err != nil {
		t.Fatal(err)
	}
	got, err := h.open().Blobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []digest.Digest{a.Digest, b.Digest}
	slices.Sort(want)
	want = append(want, sha512)
	var digests []digest.Digest
	for _, d := range got {
		if digests = append(digests, d.Digest); d.Size != 1 {
			t.Errorf("%s has %d bytes", d.Digest, d.Size)
		}
	}
	if !slices.Equal(digests, want) {
		t.Errorf("got %v, want %v", digests, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.open().Blobs(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestReaders(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	blob := h.blob("", strings.Repeat("bytes", 100))
	dir := h.open()
	ctx := t.Context()

	if got, err := layout.ReadBlob(ctx, dir, blob, blob.Size); err != nil || !bytes.Equal(got, bytes.Repeat([]byte("bytes"), 100)) {
		t.Errorf("%q %v", got, err)
	}
	var size *buildcache.SizeError
	if _, err := layout.ReadBlob(ctx, dir, blob, blob.Size-1); !errors.As(err, &size) || size.Size != blob.Size || size.Limit != blob.Size-1 {
		t.Errorf("got %v, want a *SizeError", err)
	}
	if got, err := layout.ReadUnverified(ctx, dir, blob, blob.Size); err != nil || int64(len(got)) != blob.Size {
		t.Errorf("%q %v", got, err)
	}
	if _, err := layout.ReadUnverified(ctx, dir, blob, blob.Size-1); !errors.As(err, &size) {
		t.Errorf("got %v, want a *SizeError", err)
	}

	// Sizes that can't be, and the one that hides a blob that is too large.
	for _, lie := range []int64{-1, -1 << 63, 0, 1, blob.Size + 1} {
		liar := blob
		liar.Size = lie
		var e *layout.BlobError
		if _, err := layout.ReadBlob(ctx, dir, liar, blob.Size+1); !errors.As(err, &e) || e.Digest != blob.Digest || e.Place != h.path {
			t.Errorf("size %d: %v, want a *BlobError", lie, err)
		}
		if has, err := dir.Has(ctx, liar); has || err != nil {
			t.Errorf("size %d: Has says %v %v", lie, has, err)
		}
	}

	// Closing early reads nothing more, and a done context stops reading.
	r, err := layout.OpenVerified(ctx, dir, blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	cancelled, cancel := context.WithCancelCause(ctx)
	if r, err = layout.OpenVerified(cancelled, dir, blob); err != nil {
		t.Fatal(err)
	}
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	if _, err := io.ReadAll(r); !errors.Is(err, interrupted) {
		t.Errorf("got %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := layout.ReadUnverified(cancelled, dir, blob, 1000); !errors.Is(err, interrupted) {
		t.Errorf("got %v", err)
	}
}

func TestTrack(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	d := digest.FromString("x")
	var got []layout.Event
	err := layout.Handler(func(e layout.Event) { got = append(got, e) }).Track("copy", d, 10, func(done func(int64)) error {
		done(4)
		done(6)
		return failed
	})
	want := []layout.Event{
		{Kind: layout.EventStart, Verb: "copy", Digest: d, Total: 10},
		{Kind: layout.EventBytes, Verb: "copy", Digest: d, Bytes: 4},
		{Kind: layout.EventBytes, Verb: "copy", Digest: d, Bytes: 6},
		{Kind: layout.EventDone, Verb: "copy", Digest: d, Err: failed},
	}
	if !errors.Is(err, failed) || !slices.Equal(got, want) {
		t.Errorf("%v, %v", err, got)
	}
	if err := layout.Handler(nil).Track("copy", d, 10, func(done func(int64)) error { done(1); return nil }); err != nil {
		t.Error(err)
	}
}
