package archive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/layout"
)

// chosen returns every cache of a place, or every root with images.
func chosen(tb testing.TB, src layout.Source, images bool) []archive.Chosen {
	tb.Helper()
	found, err := layout.Survey(tb.Context(), src)
	if err != nil {
		tb.Fatal(err)
	}
	var all []archive.Chosen
	for _, f := range found {
		if f.Kind == layout.KindCache || images && f.Kind == layout.KindImage {
			all = append(all, archive.Chosen{Source: src, Entry: f})
		}
	}
	return all
}

// packFile packs into a file of its own directory.
func packFile(tb testing.TB, roots []archive.Chosen, o archive.PackOptions) (string, *archive.PackResult) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "cache.tar")
	result, err := archive.Pack(tb.Context(), roots, archive.Target{File: file}, o)
	if err != nil {
		tb.Fatal(err)
	}
	return file, result
}

// wantOnly says what is in a directory, and that nothing was left behind.
func wantOnly(tb testing.TB, dir string, want ...string) {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	got := []string{}
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		tb.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// commandOutput runs a program of others.
func commandOutput(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), name, args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// needTool skips, loudly, where a program of others is not there. In CI it can be installed.
func needTool(tb testing.TB, name string) {
	tb.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatalf("no %s here", name)
		}
		notTested(tb, "no "+name+" here")
	}
}

// notTested skips a test, loudly, that lacks something, or lets it fail with E2E=required.
func notTested(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("E2E") == "required" {
		tb.Fatal("E2E=required, but " + why)
	}
	tb.Skip("NOT TESTED: " + why)
}

// TestPackCorpus packs every real cache, as a file twice and as a stream: the bytes are the same, tar reads them, and
// what comes out is what was in the layout.
func TestPackCorpus(t *testing.T) {
	t.Parallel()
	needTool(t, "tar")
	entries, err := os.ReadDir(caches)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(caches, entry.Name())
			src := openDir(t, path)
			roots := chosen(t, src, true)
			if len(roots) == 0 {
				if entry.Name() != "dangling-index" {
					t.Fatal("nothing to pack")
				}
				return
			}
			file, result := packFile(t, roots, archive.PackOptions{})
			data := readFile(t, file)
			if int64(len(data)) != result.Size {
				t.Errorf("the tar has %d bytes, %d were announced", len(data), result.Size)
			}
			slices.Reverse(roots)
			again, _ := packFile(t, roots, archive.PackOptions{})
			var streamed bytes.Buffer
			if _, err := archive.Pack(t.Context(), roots, archive.Target{Stream: &streamed}, archive.PackOptions{}); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data, readFile(t, again)) || !bytes.Equal(data, streamed.Bytes()) {
				t.Error("the bytes differ from one time to the next")
			}
			wantOnly(t, filepath.Dir(file), "cache.tar")
			wantExtracted(t, file, src, roots, result)
		})
	}
}

// wantExtracted unpacks with tar and compares with the layout.
func wantExtracted(t *testing.T, file string, src *layout.Dir, roots []archive.Chosen, result *archive.PackResult) {
	t.Helper()
	names := strings.Fields(commandOutput(t, "tar", "tf", file))
	if !slices.Equal(names[:3], []string{"oci-layout", "index.json", "ocicache.json"}) {
		t.Errorf("the archive begins with %q", names[:3])
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	commandOutput(t, "tar", "xf", file, "-C", out)
	if result.ID != digest.FromBytes(readFile(t, filepath.Join(out, "ocicache.json"))) {
		t.Error("the id is not that of the description")
	}
	description, err := archive.ParseDescription(readFile(t, filepath.Join(out, "ocicache.json")))
	if err != nil {
		t.Fatal(err)
	}
	var blobs []string
	want := map[digest.Digest]bool{}
	for _, root := range roots {
		graph, err := layout.Graph(t.Context(), src, root.Entry.Descriptor)
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range graph {
			want[blob.Digest] = true
		}
	}
	for _, blob := range description.Blobs {
		blobs = append(blobs, blobName(blob.Digest))
		if !want[blob.Digest] {
			t.Errorf("%s is not needed", blob.Digest)
		}
		if !bytes.Equal(readFile(t, filepath.Join(src.String(), blobName(blob.Digest))), readFile(t, filepath.Join(out, blobName(blob.Digest)))) {
			t.Errorf("%s has other bytes", blob.Digest)
		}
	}
	if len(blobs) != len(want) || result.Packed.Blobs != len(want) || !slices.Equal(names[3:], blobs) {
		t.Errorf("the tar has %q, the description %q, wanted are %d", names[3:], blobs, len(want))
	}
	tags := map[string]digest.Digest{}
	for _, root := range roots {
		tags[root.Entry.Tag] = root.Entry.Descriptor.Digest
	}
	for tag, d := range tagsOf(t, out) {
		if tags[tag] != d {
			t.Errorf("the tag %q names %s", tag, d)
		}
		delete(tags, tag)
	}
	if len(tags) > 0 {
		t.Errorf("tags are missing: %v", tags)
	}
	info, err := os.Stat(filepath.Join(out, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o444 || !info.ModTime().Equal(time.Unix(0, 0)) {
		t.Errorf("mode %v, time %v", info.Mode(), info.ModTime())
	}
}

// TestPackOrder says in which order the parts are: manifests, configs, layers, also of several caches, and a blob that
// several have is there once.
func TestPackOrder(t *testing.T) {
	t.Parallel()
	var roots []archive.Chosen
	src := openDir(t, filepath.Join(caches, "artifact-gzip"))
	second := dirOf(t, "artifact-mixed-gzip-zstd")
	retag(t, second, "latest", "other")
	for _, place := range []*layout.Dir{src, second} {
		roots = append(roots, chosen(t, place, false)...)
	}
	roots = append(roots, roots...) // twice is once
	file, _ := packFile(t, roots, archive.PackOptions{})
	a := openPacked(t, file)
	rank := map[digest.Digest]int{}
	for _, root := range roots {
		graph, err := layout.Graph(t.Context(), root.Source, root.Entry.Descriptor)
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range graph {
			switch {
			case blob.MediaType == buildcache.MediaTypeConfig:
				rank[blob.Digest] = 1
			case !buildcache.IsManifestType(blob.MediaType):
				rank[blob.Digest] = 2
			}
		}
	}
	last, both := 0, 0
	for _, blob := range a.Description().Blobs {
		if rank[blob.Digest] < last {
			t.Errorf("%s comes too late", blob.Digest)
		}
		last = rank[blob.Digest]
		both++
	}
	if both != len(rank)+2 {
		t.Errorf("%d blobs, want %d and two roots", both, len(rank))
	}
}

func openPacked(tb testing.TB, file string) *archive.Archive {
	tb.Helper()
	a, err := archive.Open(tb.Context(), []string{file}, archive.OpenOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = a.Close() })
	return a
}

// retag gives the root of one tag another one.
func retag(tb testing.TB, dir *layout.Dir, from, to string) {
	tb.Helper()
	path := filepath.Join(dir.String(), "index.json")
	data := bytes.Replace(readFile(tb, path), []byte(`"`+from+`"`), []byte(`"`+to+`"`), 1)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		tb.Fatal(err)
	}
}

// TestPackTagConflict says that two different roots can't have one tag.
func TestPackTagConflict(t *testing.T) {
	t.Parallel()
	roots := append(chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false),
		chosen(t, openDir(t, filepath.Join(caches, "artifact-zstd")), false)...)
	dir := t.TempDir()
	_, err := archive.Pack(t.Context(), roots, archive.Target{File: filepath.Join(dir, "a.tar")}, archive.PackOptions{})
	var conflict *archive.TagConflictError
	if !errors.As(err, &conflict) || conflict.Tag != "latest" || !strings.Contains(err.Error(), "artifact-zstd") {
		t.Errorf("got %v", err)
	}
	wantOnly(t, dir)
}

// TestPackSkopeo reads an archive as skopeo does.
func TestPackSkopeo(t *testing.T) {
	t.Parallel()
	needTool(t, "skopeo")
	src := openDir(t, filepath.Join(caches, "artifact-gzip"))
	roots := chosen(t, src, false)
	file, _ := packFile(t, roots, archive.PackOptions{})
	out := filepath.Join(t.TempDir(), "out")
	commandOutput(t, "skopeo", "--insecure-policy", "copy", "oci-archive:"+file, "dir:"+out)
	if got := digest.FromBytes(readFile(t, filepath.Join(out, "manifest.json"))); got != roots[0].Entry.Descriptor.Digest {
		t.Errorf("skopeo got the root %s", got)
	}
}

// TestPackDifferential leaves out what the far side holds, as a layout, a receipt, an archive and a foreign one say it,
// and what a chain of archives has brought there.
func TestPackDifferential(t *testing.T) {
	t.Parallel()
	first := openDir(t, filepath.Join(caches, "artifact-gzip"))
	second := dirOf(t, "artifact-mixed-gzip-zstd")
	retag(t, second, "latest", "second")
	third := dirOf(t, "artifact-zstd")
	retag(t, third, "latest", "third")
	one := chosen(t, first, false)
	two := append(slices.Clone(one), chosen(t, second, false)...)
	three := append(slices.Clone(two), chosen(t, third, false)...)

	whole, _ := packFile(t, one, archive.PackOptions{})
	far := emptyDir(t)
	unpacked, err := archive.Unpack(t.Context(), openPacked(t, whole), far, archive.UnpackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	receipt, _, err := archive.NewReceipt(t.Context(), far, unpacked, 0)
	if err != nil {
		t.Fatal(err)
	}
	receiptFile := filepath.Join(t.TempDir(), "receipt")
	if err := archive.WriteReceipt(t.Context(), receiptFile, receipt, layout.Options{}); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.tar")
	if err := os.WriteFile(foreign, tarOf(t, layoutEntries(t, first.String(), "")), 0o644); err != nil {
		t.Fatal(err)
	}
	volumes := filepath.Join(t.TempDir(), "volumes")
	if _, err := archive.Pack(t.Context(), one, archive.Target{File: volumes}, archive.PackOptions{VolumeSize: 10000, Parity: 1}); err != nil {
		t.Fatal(err)
	}
	var want []byte
	for _, have := range []struct {
		name   string
		holder archive.Holder
	}{
		{"layout", archive.HeldBy(first)},
		{"far layout", archive.HeldBy(far)},
		{"receipt", archive.HeldAfter(receiptFile)},
		{"archive", archive.HeldAfter(whole)},
		{"volumes", archive.HeldAfter(volumes)},
		{"foreign archive", archive.HeldAfter(foreign)},
		{"list", archive.HeldList(receipt.Blobs)},
	} {
		file, result := packFile(t, two, archive.PackOptions{Have: []archive.Holder{have.holder}})
		if want == nil {
			want = readFile(t, file)
		}
		if !bytes.Equal(want, readFile(t, file)) {
			t.Errorf("%s: it is another archive", have.name)
		}
		if result.Required.Blobs != len(receipt.Blobs) || result.Packed.Blobs == 0 {
			t.Errorf("%s: %d blobs are required and %d packed; the far side has %d", have.name, result.Required.Blobs, result.Packed.Blobs, len(receipt.Blobs))
		}
	}
	link, _ := packFile(t, two, archive.PackOptions{Have: []archive.Holder{archive.HeldAfter(whole)}})
	last, result := packFile(t, three, archive.PackOptions{Have: []archive.Holder{archive.HeldAfter(link)}})
	if held := openPacked(t, link).Description(); result.Required.Blobs != len(held.Blobs)+len(held.Requires) {
		t.Errorf("the third of a chain requires %d blobs", result.Required.Blobs)
	}
	var missing *archive.MissingError
	if _, err := archive.Unpack(t.Context(), openPacked(t, last), far, archive.UnpackOptions{}); !errors.As(err, &missing) {
		t.Errorf("without the second the third gave %v", err)
	}
	for _, file := range []string{link, last} {
		if _, err := archive.Unpack(t.Context(), openPacked(t, file), far, archive.UnpackOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	wantWhole(t, far)
}

// TestHeldByOnlyWhatIsThere says that a root alone is no proof of its blobs, nor one of another size.
func TestHeldByOnlyWhatIsThere(t *testing.T) {
	t.Parallel()
	far := dirOf(t, "artifact-gzip")
	roots := chosen(t, far, false)
	layer := largest(t, far)
	path := filepath.Join(far.String(), blobName(layer))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	whole := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	for _, damage := range []func() error{
		func() error { return nil },
		func() error { return os.WriteFile(path, []byte("short"), 0o644) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		file, result := packFile(t, whole, archive.PackOptions{Have: []archive.Holder{archive.HeldBy(far)}})
		if got := openPacked(t, file).Description().Blobs; result.Packed.Blobs != 1 || got[0].Digest != layer {
			t.Errorf("packed: %v", got)
		}
	}
	damageBlob(t, far, roots[0].Entry.Descriptor.Digest, func(data []byte) []byte { return append(data, ' ') })
	if _, result := packFile(t, whole, archive.PackOptions{Have: []archive.Holder{archive.HeldBy(far)}}); result.Required.Blobs != 0 {
		t.Errorf("a damaged root stands for %d blobs", result.Required.Blobs)
	}
}

// largest returns the largest blob of the first cache, which is a layer.
func largest(tb testing.TB, dir *layout.Dir) digest.Digest {
	tb.Helper()
	blobs, err := dir.Blobs(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	best := slices.MaxFunc(blobs, func(a, b buildcache.Descriptor) int { return int(a.Size - b.Size) })
	return best.Digest
}

func damageBlob(tb testing.TB, dir *layout.Dir, blob digest.Digest, change func([]byte) []byte) {
	tb.Helper()
	path := filepath.Join(dir.String(), blobName(blob))
	data := change(readFile(tb, path))
	if err := errors.Join(os.Remove(path), os.WriteFile(path, data, 0o444)); err != nil {
		tb.Fatal(err)
	}
}

// plainSource hides what a layout can do beyond a Source, so that nothing is found out before it is read.
type plainSource struct{ layout.Source }

// TestPackBadBlob packs sources with a blob that is not what it should be. Nothing is published, an old archive stays
// whole, and nothing is left behind.
func TestPackBadBlob(t *testing.T) {
	t.Parallel()
	// Where a source can't be looked at, a blob that ends too early shows by its digest first.
	isWant := func(err, want error) bool {
		return errors.Is(err, want) || errors.Is(want, layout.ErrBlobSize) && errors.Is(err, layout.ErrBlobDamaged)
	}
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"damaged", func(data []byte) []byte { data[len(data)/2] ^= 1; return data }, layout.ErrBlobDamaged},
		{"short", func(data []byte) []byte { return data[:len(data)-1] }, layout.ErrBlobSize},
		{"long", func(data []byte) []byte { return append(data, 0) }, layout.ErrBlobSize},
		{"missing", nil, layout.ErrBlobMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src := dirOf(t, "artifact-gzip")
			roots := chosen(t, src, false)
			layer := largest(t, src)
			if tt.change != nil {
				damageBlob(t, src, layer, tt.change)
			} else if err := os.Remove(filepath.Join(src.String(), blobName(layer))); err != nil {
				t.Fatal(err)
			}
			plain := []archive.Chosen{{Source: plainSource{src}, Entry: roots[0].Entry}}
			for _, roots := range [][]archive.Chosen{roots, plain} {
				for _, o := range []archive.PackOptions{{Overwrite: true}, {VolumeSize: 20000, Parity: 2}} {
					dir := t.TempDir()
					file := filepath.Join(dir, "a.tar")
					var old []string
					if o.Overwrite {
						old = []string{"a.tar"}
						if err := os.WriteFile(file, oldArchive(t), 0o644); err != nil {
							t.Fatal(err)
						}
					}
					_, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, o)
					var bad *layout.BlobError
					if !errors.As(err, &bad) || bad.Digest != layer || !isWant(err, tt.want) {
						t.Errorf("got %v", err)
					}
					wantOnly(t, dir, old...)
					if o.Overwrite && !bytes.Equal(readFile(t, file), oldArchive(t)) {
						t.Error("the old archive was touched")
					}
				}
				if _, err := archive.Pack(t.Context(), roots, archive.Target{Stream: io.Discard}, archive.PackOptions{}); !isWant(err, tt.want) {
					t.Errorf("stream: got %v", err)
				}
			}
		})
	}
}

// oldArchive returns an archive that is to be replaced.
func oldArchive(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	if _, err := archive.Pack(t.Context(), roots, archive.Target{Stream: &out}, archive.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestPackFaults lets each operation on the file system fail in its turn.
func TestPackFaults(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "multi-tag")), false)
	for _, o := range []archive.PackOptions{{Overwrite: true}, {VolumeSize: 20000, Parity: 1}} {
		for fails := 0; ; fails++ {
			dir := t.TempDir()
			file := filepath.Join(dir, "a.tar")
			var old []string
			if o.Overwrite {
				old = []string{"a.tar"}
				if err := os.WriteFile(file, oldArchive(t), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			left, renamed, removes, clears := fails, false, false, false
			ctx := durable.WithFault(t.Context(), func(op durable.Op, path string) error {
				renamed = renamed || op == durable.OpRename && left > 0
				left--
				if left == -1 {
					removes = op == durable.OpRemove
					clears = renamed && path == filepath.Join(dir, ".a.tar.ocicache")
					return syscall.ENOSPC
				}
				return nil
			})
			_, err := archive.Pack(ctx, roots, archive.Target{File: file}, o)
			if err == nil && clears {
				continue // all is done but to clear away
			}
			if err == nil {
				if left >= 0 && fails > 4 {
					break
				}
				t.Fatalf("fault %d was not noticed", fails)
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("fault %d: %v", fails, err)
			}
			if removes { // all is done but that; the next run does it
				if _, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, archive.PackOptions{
					Overwrite: true, VolumeSize: o.VolumeSize, Parity: o.Parity,
				}); err != nil {
					t.Errorf("fault %d: run again: %v", fails, err)
				}
			} else if !renamed || !o.Overwrite {
				wantOnly(t, dir, old...)
				if o.Overwrite && !bytes.Equal(readFile(t, file), oldArchive(t)) {
					t.Errorf("fault %d: the old archive was touched", fails)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, ".a.tar.ocicache")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("fault %d: the work directory was left (%v)", fails, err)
			}
		}
	}
}

// TestPackCancel interrupts at each blob.
func TestPackCancel(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	reason := errors.New("enough")
	for after := range 4 {
		dir := t.TempDir()
		ctx, cancel := context.WithCancelCause(t.Context())
		seen := 0
		o := archive.PackOptions{OnEvent: func(e layout.Event) {
			if e.Kind == layout.EventStart {
				if seen++; seen > after {
					cancel(reason)
				}
			}
		}}
		if _, err := archive.Pack(ctx, roots, archive.Target{File: filepath.Join(dir, "a.tar")}, o); !errors.Is(err, reason) {
			t.Errorf("got %v", err)
		}
		wantOnly(t, dir)
	}
}

// TestPackStreamBlocked interrupts while nobody reads the stream.
func TestPackStreamBlocked(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	ctx, cancel := context.WithCancelCause(t.Context())
	r, w := io.Pipe()
	defer r.Close()
	reason := errors.New("enough")
	go func() {
		_, _ = r.Read(make([]byte, 1))
		cancel(reason)
	}()
	if _, err := archive.Pack(ctx, roots, archive.Target{Stream: w}, archive.PackOptions{}); !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}

// TestPackLocked packs to one file twice at once.
func TestPackLocked(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	release, err := archive.HoldWork(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	impatient := archive.PackOptions{Layout: layout.Options{LockTimeout: -1}}
	var locked *layout.LockedError
	if _, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, impatient); !errors.As(err, &locked) {
		t.Errorf("got %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, archive.PackOptions{})
		done <- err
	}()
	if err := errors.Join(release(), release(), <-done); err != nil {
		t.Error(err)
	}
	wantOnly(t, dir, "a.tar")
}

// TestPackClearsUp finds what a process left that was killed: it is removed, and so are volumes of an earlier run, if
// they may be.
func TestPackClearsUp(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	work := filepath.Join(dir, ".a.tar.ocicache")
	if err := os.CopyFS(filepath.Join(work, "spool"), os.DirFS(filepath.Join(caches, "artifact-zstd"))); err != nil {
		t.Fatal(err)
	}
	makeWork(t, work, archive.MarkText)
	if _, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, archive.PackOptions{VolumeSize: 10000, Parity: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file + ".parity.002"); err != nil {
		t.Error(err)
	}
	if _, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, archive.PackOptions{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, "a.tar")
}

// TestPackVolumes says that volumes are the archive in pieces, and that a dry run tells how many there will be.
func TestPackVolumes(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	whole, _ := packFile(t, roots, archive.PackOptions{})
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	o := archive.PackOptions{VolumeSize: 9000, Parity: 2, DryRun: true}
	promised, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, o)
	if err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir)
	o.DryRun = false
	result, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, o)
	if err != nil {
		t.Fatal(err)
	}
	names, joined := []string{}, []byte{}
	for i, name := range result.Files {
		names = append(names, filepath.Base(name))
		if i < result.Volumes {
			joined = append(joined, readFile(t, name)...)
		}
	}
	wantOnly(t, dir, names...)
	if !bytes.Equal(joined, readFile(t, whole)) {
		t.Error("the volumes together are not the archive")
	}
	if !slices.Equal(promised.Files, result.Files) || promised.Size != int64(len(joined)) || promised.ID != result.ID {
		t.Errorf("the dry run promised %+v, it became %+v", promised, result)
	}
	for _, bad := range []archive.PackOptions{{Parity: 1}, {VolumeSize: 1}, {VolumeSize: 1024, Parity: 256}, {VolumeSize: 9000, Parity: -1}} {
		other := filepath.Join(t.TempDir(), "a.tar")
		if _, err := archive.Pack(t.Context(), roots, archive.Target{File: other}, bad); !errors.Is(err, archive.ErrSplit) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := archive.Pack(t.Context(), roots, archive.Target{Stream: io.Discard}, o); !errors.Is(err, archive.ErrSplit) {
		t.Errorf("stream: %v", err)
	}
}

// TestPackTarget refuses what can't be replaced by an archive, before any work.
func TestPackTarget(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	dir := t.TempDir()
	if _, err := archive.Pack(t.Context(), roots, archive.Target{File: dir}, archive.PackOptions{}); err == nil {
		t.Error("a directory was taken for a file")
	}
	_, err := archive.Pack(t.Context(), roots, archive.Target{File: filepath.Join(dir, "none", "a.tar")}, archive.PackOptions{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	wantOnly(t, dir)
	_, err = archive.Pack(t.Context(), roots, archive.Target{Stream: brokenWriter{}}, archive.PackOptions{})
	if !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, syscall.EPIPE }
