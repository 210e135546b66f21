package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// hostile is an archive that must be refused.
type hostile struct {
	name  string
	spoil func(tb testing.TB, entries []tarEntry) []byte
	entry string // that the error names, or a part of it
	text  string // that the error has
}

// with returns a spoiler that adds an entry to the end.
func with(e tarEntry) func(testing.TB, []tarEntry) []byte {
	return func(tb testing.TB, entries []tarEntry) []byte {
		tb.Helper()
		return tarOf(tb, append(slices.Clone(entries), e))
	}
}

// raw returns a spoiler that works on the bytes of the tar.
func raw(change func(data []byte) []byte) func(testing.TB, []tarEntry) []byte {
	return func(tb testing.TB, entries []tarEntry) []byte {
		tb.Helper()
		return change(tarOf(tb, entries))
	}
}

func typed(flag byte, target string) func(*tar.Header) {
	return func(h *tar.Header) { h.Typeflag, h.Linkname, h.Size = flag, target, 0 }
}

// renamed returns a spoiler that gives the first entry whose name has a part another name.
func renamed(part string, rename func(string) string) func(testing.TB, []tarEntry) []byte {
	return func(tb testing.TB, entries []tarEntry) []byte {
		tb.Helper()
		entries = slices.Clone(entries)
		at := slices.IndexFunc(entries, func(e tarEntry) bool { return strings.Contains(e.name, part) && !strings.HasSuffix(e.name, "/") })
		entries[at].name = rename(entries[at].name)
		return tarOf(tb, entries)
	}
}

// header makes one block of a header by hand.
func header(name string, size string, flag byte, magic string) []byte {
	block := make([]byte, 512)
	copy(block, name)
	copy(block[100:], "0000444\x00")
	copy(block[124:], size)
	copy(block[136:], "00000000000\x00")
	block[156] = flag
	copy(block[257:], magic)
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

// insert puts bytes before the end of a tar.
func insert(data, block []byte) []byte {
	end := len(data) - 1024
	return slices.Concat(data[:end], block, data[end:])
}

const ustar = "ustar\x0000"

func hostiles() []hostile {
	hex := digest.FromString("other").Encoded()
	blob := []byte("other")
	return []hostile{
		{"absolute path", with(tarEntry{name: "/tmp/evil", data: blob}), "/tmp/evil", "absolute"},
		{"absolute blob", with(tarEntry{name: "/blobs/sha256/" + hex, data: blob}), "/blobs", "absolute"},
		{"dot dot", with(tarEntry{name: "../evil", data: blob}), "../evil", ".."},
		{"dot dot within", with(tarEntry{name: "blobs/sha256/../../../evil", data: blob}), "evil", ".."},
		{"directory with dot dot", with(tarEntry{name: "../evil/"}), "../evil/", ".."},
		{"a path that is not clean", with(tarEntry{name: "blobs//sha256/" + hex, data: blob}), "blobs//", "simplest"},
		{"a dot within", with(tarEntry{name: "blobs/./sha256/" + hex, data: blob}), "blobs/./", "simplest"},
		{"symbolic link", with(tarEntry{name: "blobs/sha256/" + hex, change: typed(tar.TypeSymlink, "/etc/passwd")}), hex, "symbolic link"},
		{"symbolic link beside", with(tarEntry{name: "evil", change: typed(tar.TypeSymlink, "..")}), "evil", "symbolic link"},
		{"symbolic link for a directory", with(tarEntry{name: "blobs", change: typed(tar.TypeSymlink, "/tmp")}), "blobs", "symbolic link"},
		{"hard link", with(tarEntry{name: "blobs/sha256/" + hex, change: typed(tar.TypeLink, "index.json")}), hex, "hard link"},
		{"character device", with(tarEntry{name: "dev", change: typed(tar.TypeChar, "")}), "dev", "device"},
		{"block device", with(tarEntry{name: "dev", change: typed(tar.TypeBlock, "")}), "dev", "device"},
		{"FIFO", with(tarEntry{name: "fifo", change: typed(tar.TypeFifo, "")}), "fifo", "FIFO"},
		{"contiguous file", raw(func(d []byte) []byte { return insert(d, header("cont", "00000000000\x00", tar.TypeCont, ustar)) }), "cont", "type"},
		{"global header", func(tb testing.TB, entries []tarEntry) []byte {
			global := tarEntry{change: func(h *tar.Header) {
				*h = tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "index.json"}}
			}}
			return tarOf(tb, slices.Concat([]tarEntry{global}, entries))
		}, "", "type"},
		{"old sparse file", raw(func(d []byte) []byte {
			return insert(d, header("sparse", "00000000000\x00", tar.TypeGNUSparse, "ustar  \x00"))
		}), "sparse", "sparse"},
		{"sparse file", raw(func(d []byte) []byte {
			records := paxRecord("GNU.sparse.major", "1") + paxRecord("GNU.sparse.minor", "0") +
				paxRecord("GNU.sparse.name", "blobs/sha256/"+hex) + paxRecord("GNU.sparse.realsize", "1099511627776")
			body := make([]byte, 512)
			copy(body, records)
			data := make([]byte, 512)
			copy(data, "1\n1099511627776\n0\n")
			return insert(d, slices.Concat(header("pax", octal(len(records)), tar.TypeXHeader, ustar), body,
				header("x", octal(512), tar.TypeReg, ustar), data))
		}), hex, "sparse"},
		{"sparse file of version 0.1", raw(func(d []byte) []byte {
			records := paxRecord("GNU.sparse.size", "1099511627776") + paxRecord("GNU.sparse.numblocks", "0") + paxRecord("GNU.sparse.map", "")
			body := make([]byte, 512)
			copy(body, records)
			return insert(d, slices.Concat(header("pax", octal(len(records)), tar.TypeXHeader, ustar), body,
				header("sparse", octal(0), tar.TypeReg, ustar)))
		}), "sparse", "sparse"},
		{"duplicate blob", func(tb testing.TB, entries []tarEntry) []byte {
			return tarOf(tb, append(slices.Clone(entries), entries[len(entries)-1]))
		}, "", "duplicate entry"},
		{"duplicate index.json", with(tarEntry{name: "index.json", data: []byte(`{}`)}), "index.json", "duplicate entry"},
		{"duplicate in another spelling", with(tarEntry{name: "./index.json", data: []byte(`{}`)}), "./index.json", "duplicate entry"},
		{"duplicate of something else", func(tb testing.TB, entries []tarEntry) []byte {
			other := tarEntry{name: "manifest.json", data: []byte("[]")}
			return tarOf(tb, append(slices.Clone(entries), other, other))
		}, "manifest.json", "duplicate entry"},
		{"Index.json", with(tarEntry{name: "Index.json", data: []byte(`{}`)}), "Index.json", "case"},
		{"OCI-layout", with(tarEntry{name: "OCI-layout", data: []byte(`{}`)}), "OCI-layout", "case"},
		{"another alphabet", with(tarEntry{name: "ocicache.j\u017fon", data: []byte(`{}`)}), "on", "case"},
		{"BLOBS", with(tarEntry{name: "BLOBS/sha256/" + hex, data: blob}), "BLOBS", "case"},
		{"blobs/SHA256", with(tarEntry{name: "blobs/SHA256/" + hex, data: blob}), "SHA256", "case"},
		{"upper-case hex", with(tarEntry{name: "blobs/sha256/" + strings.ToUpper(hex), data: blob}), "blobs/sha256/", "case"},
		{"short hex", with(tarEntry{name: "blobs/sha256/" + hex[1:], data: blob}), hex[1:], "not the name"},
		{"no hex", with(tarEntry{name: "blobs/sha256/README", data: blob}), "README", "not the name"},
		{"unknown algorithm", with(tarEntry{name: "blobs/md5/" + hex[:32], data: blob}), "md5", "not the name"},
		{"file in blobs", with(tarEntry{name: "blobs/" + hex, data: blob}), hex, "not the name"},
		{"file named blobs", with(tarEntry{name: "blobs", data: blob}), "blobs", "not the name"},
		{"below a blob", with(tarEntry{name: "blobs/sha256/" + hex + "/x", data: blob}), hex, "not the name"},
		{"two layouts", with(tarEntry{name: "other/index.json", data: []byte(`{}`)}), "other/", "another layout"},
		{"blob of another layout", with(tarEntry{name: "other/blobs/sha256/" + hex, data: blob}), "other/", "another layout"},
		{"file with a slash", raw(func(d []byte) []byte { return insert(d, header("evil/", octal(0), tar.TypeReg, ustar)) }), "evil/", "directory"},
		{"directory with bytes", raw(func(d []byte) []byte {
			return insert(d, append(header("evil", octal(5), tar.TypeDir, ustar), make([]byte, 512)...))
		}), "evil", "directory"},
		{"long name", with(tarEntry{name: strings.Repeat("long/", 1000) + "name", data: blob}), "long/", "limit"},
		{"endless name", raw(func(d []byte) []byte {
			return insert(d, append(header("././@LongLink", octal(8<<20), tar.TypeGNULongName, "ustar  \x00"), bytes.Repeat([]byte("a"), 8<<20)...))
		}), "", ""},
		{"endless PAX header", raw(func(d []byte) []byte {
			return insert(d, append(header("pax", octal(8<<20), tar.TypeXHeader, ustar), bytes.Repeat([]byte("a"), 8<<20)...))
		}), "", ""},
		{"PAX header of ten thousand records", raw(func(d []byte) []byte {
			records := strings.Repeat(paxRecord("comment", strings.Repeat("x", 200)), 10_000)
			return insert(d, pax(records, header("x", octal(0), tar.TypeReg, ustar)))
		}), "", ""},
		{"PAX header that leads out", raw(func(d []byte) []byte {
			return insert(d, pax(paxRecord("path", "../evil"), header("x", octal(0), tar.TypeReg, ustar)))
		}), "../evil", ".."},
		{"PAX header with another size", raw(func(d []byte) []byte {
			return insert(d, pax(paxRecord("size", "1099511627776"), header("x", octal(0), tar.TypeReg, ustar)))
		}), "", ""},
		{"PAX header for an end", raw(func(d []byte) []byte { return insert(d, pax(paxRecord("path", "index.json"), nil)) }), "", ""},
		{"large index.json", renamedData("index.json", bytes.Repeat([]byte(" "), 17<<20)), "index.json", "limit"},
		{"large oci-layout", renamedData("oci-layout", bytes.Repeat([]byte(" "), 5<<10)), "oci-layout", "limit"},
		{"description larger than any", raw(func(d []byte) []byte {
			return insert(d, header("x/ocicache.json", octal(1<<32), tar.TypeReg, ustar))
		}), "ocicache.json", ""},
		{"unknown version of layouts", renamedData("oci-layout", []byte(`{"imageLayoutVersion":"9"}`)), "oci-layout", "version"},
		{"torn oci-layout", renamedData("oci-layout", []byte(`{`)), "oci-layout", "JSON"},
		{"torn index.json", renamedData("index.json", []byte(`{"schemaVersion":2,"manif`)), "index.json", "JSON"},
		{"no index.json", renamed("index.json", func(string) string { return "not-index.json" }), "", "no index.json"},
		{"negative size", raw(func(d []byte) []byte {
			return insert(d, header("evil", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", tar.TypeReg, ustar))
		}), "", ""},
		{"size beyond the file", raw(func(d []byte) []byte { return insert(d, header("evil", octal(1<<32), tar.TypeReg, ustar)) }), "", ""},
		{"size beyond everything", raw(func(d []byte) []byte {
			return insert(d, header("evil", "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", tar.TypeReg, ustar))
		}), "", ""},
		{"bytes behind the end", raw(func(d []byte) []byte { return append(slices.Clone(d), "evil"...) }), "", "non-zero bytes"},
		{"a second tar behind the end", raw(func(d []byte) []byte { return slices.Concat(d, d) }), "", "non-zero bytes"},
		{"zeros without end", raw(func(d []byte) []byte { return append(slices.Clone(d), make([]byte, 17<<20)...) }), "", "zero bytes"},
		{"no end", raw(func(d []byte) []byte { return d[:len(d)-1024] }), "", "end of the archive"},
		{"half an end", raw(func(d []byte) []byte { return d[:len(d)-512] }), "", "end of the archive"},
		{"a cut end", raw(func(d []byte) []byte { return d[:len(d)-1] }), "", "end of the archive"},
		{"one block of zeros in the middle", raw(func(d []byte) []byte {
			return insert(d, append(make([]byte, 512), header("x", octal(0), '0', ustar)...))
		}), "", ""},
		{"cut in a blob", raw(func(d []byte) []byte { return d[:len(d)-1024-700] }), "", "end of the archive"},
		{"garbage for a header", raw(func(d []byte) []byte { return insert(d, bytes.Repeat([]byte("x"), 512)) }), "", "no tar entry"},
		{"no tar", raw(func([]byte) []byte { return bytes.Repeat([]byte("this is no tar "), 100) }), "", "not an archive"},
		{"nothing", raw(func([]byte) []byte { return nil }), "", "not an archive"},
		{"nothing but an end", raw(func([]byte) []byte { return make([]byte, 1024) }), "", "not an archive"},
		{"tag that is none", renamedData("index.json", []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:`+hex+
			`","size":1,"annotations":{"org.opencontainers.image.ref.name":"a\u001b[2Jb"}}]}`)), "index.json", "tag"},
	}
}

// renamedData returns a spoiler that gives a file other bytes.
func renamedData(name string, data []byte) func(testing.TB, []tarEntry) []byte {
	return func(tb testing.TB, entries []tarEntry) []byte {
		tb.Helper()
		entries = slices.Clone(entries)
		for i := range entries {
			if entries[i].name == name {
				entries[i].data = data
			}
		}
		return tarOf(tb, slices.DeleteFunc(entries, func(e tarEntry) bool { return e.name == "ocicache.json" }))
	}
}

// pax puts a PAX header with records before an entry.
func pax(records string, entry []byte) []byte {
	body := make([]byte, (len(records)+511)/512*512)
	copy(body, records)
	return slices.Concat(header("pax", octal(len(records)), tar.TypeXHeader, ustar), body, entry)
}

func octal(n int) string { return fmt.Sprintf("%011o\x00", n) }

func paxRecord(key, value string) string {
	size := len(key) + len(value) + 3
	size += len(fmt.Sprint(size))
	record := fmt.Sprintf("%d %s=%s\n", size, key, value)
	if len(record) != size {
		record = fmt.Sprintf("%d %s=%s\n", size+1, key, value)
	}
	return record
}

// TestUnpackHostileManifests is about what manifests and index.json name.
func TestUnpackHostileManifests(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{
		"../../../evil", "sha256:../../evil", "sha256:\\u001b[2J", "md5:d41d8cd98f00b204e9800998ecf8427e", "SHA256:" + strings.Repeat("a", 64), "",
	} {
		for _, kind := range []string{"image", "index of images"} {
			child := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":5}`, evil)
			manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + child + `,"layers":[` + child + `]}`
			mediaType := "application/vnd.oci.image.manifest.v1+json"
			if kind == "index of images" {
				mediaType = "application/vnd.oci.image.index.v1+json"
				manifest = `{"schemaVersion":2,"mediaType":"` + mediaType + `","manifests":[` + child + `]}`
			}
			root := fmt.Sprintf(`{"mediaType":"%s","digest":"%s","size":%d,"annotations":{"org.opencontainers.image.ref.name":"a"}}`,
				mediaType, digest.FromString(manifest), len(manifest))
			for name, index := range map[string]string{
				"manifest": `{"schemaVersion":2,"manifests":[` + root + `]}`, "index.json": `{"schemaVersion":2,"manifests":[` + child + `]}`,
			} {
				entries := []tarEntry{
					{name: "index.json", data: []byte(index)},
					{name: blobName(digest.FromString(manifest)), data: []byte(manifest)},
				}
				for _, w := range ways() {
					for _, dry := range []bool{false, true} {
						var dst *layout.Dir
						if !dry {
							dst = emptyDir(t)
						}
						_, err := w.unpack(t, tarOf(t, entries), dst, archive.UnpackOptions{DryRun: dry})
						var e *archive.HostileError
						if !errors.As(err, &e) || strings.Contains(err.Error(), "\x1b") {
							t.Errorf("%q in %s, %s, %s, dry run %v: got %q (%T)", evil, name, kind, w.name, dry, err, err)
						}
						if !dry {
							wantSound(t, dst)
							wantTags(t, dst, nil)
						}
					}
				}
			}
		}
	}
}

// wantRefused says that an error is of the type for archives that are refused, and says what and where.
func wantRefused(t *testing.T, err error, entry, text string) {
	t.Helper()
	var e *archive.HostileError
	switch {
	case !errors.As(err, &e):
		t.Errorf("got %v (%T), want a *HostileError", err, err)
	case !strings.Contains(e.Entry, entry) || !strings.Contains(err.Error(), text):
		t.Errorf("got entry %q and %q, want %q and %q", e.Entry, err, entry, text)
	case !strings.Contains(err.Error(), "the-archive"):
		t.Errorf("the archive is not named: %v", err)
	case strings.ContainsAny(err.Error(), "\x1b\x00"):
		t.Errorf("control characters in %q", err)
	}
}

// TestUnpackHostile unpacks what nobody should, of others and of ours, in every way.
func TestUnpackHostile(t *testing.T) {
	t.Parallel()
	foreign := layoutEntries(t, filepath.Join(caches, "artifact-gzip"), "")
	ours := bundleEntries(t, filepath.Join(caches, "artifact-gzip"), nil)
	origin := originDir(t, "multi-tag")
	for i, h := range hostiles() {
		for k, kind := range []struct {
			name    string
			entries []tarEntry
		}{{"foreign", foreign}, {"ours", ours}} {
			data, ways := h.spoil(t, kind.entries), ways()
			streams := ways[1:]
			slices.Reverse(streams[:(i+k)%len(streams)+1]) // another one is first
			for _, w := range ways[:quicktest.Rounds(2, len(ways))] {
				t.Run(h.name+"/"+kind.name+"/"+w.name, func(t *testing.T) {
					t.Parallel()
					dst := linkedDir(t, origin)
					before := tagsOf(t, dst.String())
					beside := outside(t, dst)
					_, err := w.unpack(t, data, dst, archive.UnpackOptions{})
					wantRefused(t, err, h.entry, h.text)
					wantSound(t, dst)
					wantTags(t, dst, before)
					if now := outside(t, dst); !slices.Equal(now, beside) {
						t.Errorf("beside the layout: %v, before %v", now, beside)
					}
				})
			}
		}
	}
}

// outside lists what lies beside a layout.
func outside(t *testing.T, dir fmt.Stringer) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir.String()))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// TestUnpackDamage unpacks archives with wrong bytes in a blob: none of them gets there, and no tag moves.
func TestUnpackDamage(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"foreign", "ours"} {
		for _, which := range []string{"root", "config", "layer", "image"} {
			for _, w := range ways() {
				t.Run(kind+"/"+which+"/"+w.name, func(t *testing.T) {
					t.Parallel()
					path := filepath.Join(caches, "artifact-gzip")
					victim := tagsOf(t, filepath.Join(caches, "inline-image"))["1"]
					if which == "image" {
						path = filepath.Join(caches, "inline-image")
					} else {
						victim = pick(t, path, which)
					}
					entries := layoutEntries(t, path, "")
					if kind == "ours" {
						entries = bundleEntries(t, path, nil)
					}
					name := blobName(victim)
					for i, e := range entries {
						if e.name == name {
							entries[i].data = slices.Clone(e.data)
							entries[i].data[len(e.data)/2] ^= 1
						}
					}
					dst := emptyDir(t)
					_, err := w.unpack(t, tarOf(t, entries), dst, archive.UnpackOptions{})
					var blob *layout.BlobError
					if !errors.As(err, &blob) || !errors.Is(err, layout.ErrBlobDamaged) || blobName(blob.Digest) != name {
						t.Errorf("got %v, want a *BlobError about %s", err, name)
					} else if !strings.Contains(blob.Place, "the-archive") {
						t.Errorf("%s is blamed", blob.Place)
					}
					wantSound(t, dst)
					wantTags(t, dst, nil)
				})
			}
		}
	}
}

// pick returns the root, the config or the largest layer of the first cache of a layout.
func pick(t testing.TB, path, which string) digest.Digest {
	t.Helper()
	dir := openDir(t, path)
	entries, err := dir.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cache, err := layout.Load(t.Context(), dir, entries[0])
	if err != nil {
		t.Fatal(err)
	}
	switch which {
	case "root":
		return entries[0].Descriptor.Digest
	case "config":
		return cache.Root.Config.Digest
	}
	largest := cache.Root.Layers[0]
	for _, layer := range cache.Root.Layers {
		if layer.Size > largest.Size {
			largest = layer
		}
	}
	return largest.Digest
}

// TestUnpackWrongDescription unpacks archives whose description is not about them.
func TestUnpackWrongDescription(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "artifact-gzip")
	good := bundleEntries(t, path, nil)
	describe := func(change func(d *archive.Description)) []tarEntry {
		d, err := archive.ParseDescription(good[2].data)
		if err != nil {
			t.Fatal(err)
		}
		change(d)
		entries := slices.Clone(good)
		if entries[2].data, err = d.Marshal(); err != nil {
			t.Fatal(err)
		}
		return entries
	}
	other := archive.Blob{Digest: digest.FromString("other"), Size: 5}
	for name, test := range map[string]struct {
		entries []tarEntry
		text    string
	}{
		"torn":                 {func() []tarEntry { e := slices.Clone(good); e[2].data = []byte("{"); return e }(), "bundle description"},
		"of another index":     {describe(func(d *archive.Description) { d.Index = other.Digest }), "another index.json"},
		"promises too much":    {describe(func(d *archive.Description) { d.Blobs = append(d.Blobs, other) }), other.Digest.String()},
		"promises too little":  {describe(func(d *archive.Description) { d.Blobs = d.Blobs[:len(d.Blobs)-1] }), "does not list"},
		"promises other sizes": {describe(func(d *archive.Description) { d.Blobs[3].Size++ }), "bytes"},
		"promises one twice":   {describe(func(d *archive.Description) { d.Requires = append(d.Requires, d.Blobs[0]) }), "twice"},
	} {
		for _, w := range ways() {
			t.Run(name+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				dst := emptyDir(t)
				_, err := w.unpack(t, tarOf(t, test.entries), dst, archive.UnpackOptions{})
				var missing *archive.MissingError
				if !errors.As(err, &missing) && !errors.Is(err, layout.ErrBlobSize) { // a stream is believed what it has not shown yet
					wantRefused(t, err, "", test.text)
				}
				if w.name == "file" {
					wantRefused(t, err, "", test.text)
				}
				wantSound(t, dst)
				wantTags(t, dst, nil)
			})
		}
	}
}

// TestUnpackBomb says that a small stream can't fill a disk, unless its user says that it may.
func TestUnpackBomb(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 4<<20)
	entries := append(layoutEntries(t, filepath.Join(caches, "artifact-gzip"), ""), tarEntry{name: blobName(digest.FromBytes(zeros)), data: zeros})
	for _, w := range ways()[2:] {
		dst := emptyDir(t)
		_, err := w.unpack(t, tarOf(t, entries), dst, archive.UnpackOptions{MaxSize: 1 << 20})
		wantRefused(t, err, "", "more than 1048576 bytes")
		if !errors.Is(err, archive.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
		wantSound(t, dst)
		wantTags(t, dst, nil)
		if _, err := w.unpack(t, tarOf(t, entries), dst, archive.UnpackOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// TestUnpackDefaultLimit unpacks zeros without end.
func TestUnpackDefaultLimit(t *testing.T) {
	t.Parallel()
	start := tarOf(t, nil)[:0]
	start = append(start, header("ingest/zeros", "\x80\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00", tar.TypeReg, "ustar  \x00")...)
	pr, pw := io.Pipe()
	defer pr.Close()
	frame := zstdOf(t, make([]byte, 8<<20))
	written := 0
	go func() {
		_, err := pw.Write(zstdOf(t, start))
		for err == nil {
			written++
			_, err = pw.Write(frame)
		}
		_ = pw.Close()
	}()
	_, err := archive.UnpackStream(t.Context(), pr, "the-archive", emptyDir(t), archive.UnpackOptions{})
	wantRefused(t, err, "", archive.ErrTooLarge.Error())
}
