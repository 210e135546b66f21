package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/quicktest"
)

// Hostile inputs for the program as a whole. The many kinds of archives, lists, configs and blobs that are refused have their
// tests in the packages that refuse them; SECURITY.md lists them. Here are those that are about what a process takes of the
// machine, and what it does to the places beside.

const hostileHex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// write makes a file.
func write(name string, data []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// huge makes a file of a tebibyte of zeros, which takes no room on a disk.
func huge(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		write(name, nil)(t, dir)
		if err := os.Truncate(filepath.Join(dir, name), 1<<40); err != nil {
			t.Fatal(err)
		}
	}
}

// fifo makes a pipe that nobody writes to.
func fifo(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// copied copies a cache of testdata to the directory cache.
func copied(t *testing.T, dir string) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(dir, "cache"), os.DirFS("../../testdata/caches/artifact-gzip")); err != nil {
		t.Fatal(err)
	}
}

// all does several things.
func all(makes ...func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		for _, do := range makes {
			do(t, dir)
		}
	}
}

// layoutOf makes the layout cache, whose tag latest names a root, beside further blobs.
func layoutOf(root []byte, blobs ...[]byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		write("cache/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))(t, dir)
		write("cache/index.json", indexOf(root, "latest"))(t, dir)
		for _, blob := range append(blobs, root) {
			write("cache/blobs/sha256/"+digest.FromBytes(blob).Encoded(), blob)(t, dir)
		}
	}
}

// indexOf is an index.json with tags for one root.
func indexOf(root []byte, tags ...string) []byte {
	var entries []string
	for _, tag := range tags {
		entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":%q}}`,
			buildcache.MediaTypeOCIManifest, digest.FromBytes(root), len(root), tag))
	}
	return []byte(`{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`)
}

// artifactOf is a root of a cache config and layers.
func artifactOf(config []byte, layers ...[]byte) []byte {
	descriptor := func(mediaType string, blob []byte) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"containerd.io/uncompressed":%q}}`,
			mediaType, digest.FromBytes(blob), len(blob), digest.FromString("whatever"))
	}
	var list []string
	for _, layer := range layers {
		list = append(list, descriptor("application/vnd.oci.image.layer.v1.tar+zstd", layer))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		buildcache.MediaTypeOCIManifest, descriptor(buildcache.MediaTypeConfig, config), strings.Join(list, ","))
}

// configOf is a cache config with a result for each layer, one upon the other.
func configOf(layers ...[]byte) []byte {
	var list, records []string
	for i, layer := range layers {
		list = append(list, fmt.Sprintf(`{"blob":%q,"parent":%d}`, digest.FromBytes(layer), i-1))
		records = append(records, fmt.Sprintf(`{"digest":%q,"layers":[{"layer":%d,"createdAt":"2026-11-01T00:00:00Z"}]}`, digest.FromString(fmt.Sprint(i)), i))
	}
	return []byte(`{"layers":[` + strings.Join(list, ",") + `],"records":[` + strings.Join(records, ",") + `]}`)
}

// tarFile is a file in a tar.
type tarFile struct {
	name string
	data []byte
}

// tarWith makes a tar of a layout: files, and the blobs that a root needs, in this order.
func tarWith(t *testing.T, files ...tarFile) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, file := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file.name, Mode: 0o444, Size: int64(len(file.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(file.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func blobFile(data []byte) tarFile {
	return tarFile{"blobs/sha256/" + digest.FromBytes(data).Encoded(), data}
}

// zstdOf compresses bytes, in frames of at most 64 MiB, so that equal ones cost little.
func zstdOf(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// filled is text of a size, of one word.
func filled(size int, before, word, after string) []byte {
	return []byte(before + strings.Repeat(word, size/len(word)) + after)
}

var someIndex = []byte(`{"schemaVersion":2,"manifests":[]}`)

// hostileFiles are files that are what they should not be.
func hostileFiles() []hostileCase {
	return []hostileCase{
		{name: "archive of zeros", make: huge("a.tar"), args: []string{"unpack", "a.tar", "dst"}, status: exitFailed, says: "not an archive"},
		{name: "receipt of zeros", make: all(copied, huge("r")), args: []string{"pack", "cache", "a.tar", "--have", "r"}, status: exitFailed, says: "r"},
		{
			name: "list of zeros", make: all(huge("a.tar.SHA256SUMS"), write("a.tar.001", []byte("x"))),
			args: []string{"unpack", "a.tar", "dst"}, status: exitNotFound, says: "a.tar.SHA256SUMS: damaged",
		},
		{
			name: "recovery volume of zeros", make: all(huge("a.tar.parity.001"), write("a.tar.001", []byte("x"))),
			args: []string{"unpack", "a.tar", "dst"}, status: exitFailed, says: "not an archive",
		},
		{name: "index.json of zeros", make: all(copied, huge("cache/index.json")), args: []string{"inspect", "cache"}, status: exitFailed, says: "index.json"},
		{
			name: "root of zeros", make: all(layoutOf([]byte("root")), huge("cache/blobs/sha256/"+digest.FromString("root").Encoded())),
			args: []string{"verify", "cache"}, status: exitFound, says: "root-",
		},
		{
			name: "journal of zeros", make: all(copied, huge("cache/.ocicache/journal")),
			args: []string{"convert", "cache", "--compression", "zstd"}, status: exitDone, says: "recompressed",
		},
		{name: "index.json is a pipe", make: all(copied, fifo("cache/index.json")), args: []string{"inspect", "cache"}, status: exitFailed, says: "index.json"},
		{
			name: "cache.lock is a pipe", make: all(copied, fifo("cache/cache.lock")),
			args: []string{"convert", "cache", "--to", "oci-index"}, status: exitFailed, says: "cache.lock",
		},
		{
			name: "index.json.lock is a pipe", make: all(copied, fifo("cache/index.json.lock")),
			args: []string{"convert", "cache", "--to", "oci-index"}, status: exitFailed, says: "index.json.lock",
		},
		{
			name: "a root is a pipe", make: all(layoutOf([]byte("root")), fifo("cache/blobs/sha256/"+digest.FromString("root").Encoded())),
			args: []string{"verify", "cache"}, status: exitFound, says: "root-",
		},
		{
			name: "index.json of 15 MiB", make: all(copied, write("cache/index.json", filled(15<<20, `{"manifests":[`, "{},", "{}]}"))),
			args: []string{"inspect", "cache"}, status: exitFailed, says: "index.json",
		},
	}
}

// manyTagsOfOne makes a layout whose root has a thousand layers, which are not there, and as many tags.
func manyTagsOfOne(t *testing.T, dir string) {
	t.Helper()
	var layers [][]byte
	var tags []string
	for i := range 1000 {
		layers, tags = append(layers, fmt.Append(nil, "layer ", i)), append(tags, fmt.Sprint("t", i))
	}
	config := configOf(layers...)
	root := artifactOf(config, layers...)
	layoutOf(root, config)(t, dir)
	write("cache/index.json", indexOf(root, tags...))(t, dir)
}

// hostileJSON are texts that take many times their size, or seem to.
func hostileJSON() []hostileCase {
	config := filled(15<<20, `{"records":[`, "{},", "{}]}")
	nested := []byte(strings.Repeat(`{"manifests":[`, 1<<14) + strings.Repeat("]}", 1<<14))
	manyLayers := filled(3<<20, `{"schemaVersion":2,"mediaType":"`+buildcache.MediaTypeOCIManifest+`","layers":[`, "{},", `{}]}`)
	number := []byte(`{"schemaVersion":2,"manifests":[{"size":` + strings.Repeat("9", 1<<17) + `}]}`)
	bomb := func(size int, before, word, after string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			data := zstdOf(t, tarWith(t, tarFile{"index.json", someIndex}, tarFile{"ocicache.json", filled(size, before, word, after)}))
			write("a.tar.zst", data)(t, dir)
		}
	}
	layer := []byte("layer")
	circle := bytes.Replace(configOf(layer), []byte(`"parent":-1`), []byte(`"parent":0`), 1)
	return []hostileCase{
		{
			name: "layers in a circle, copied as they are", make: layoutOf(artifactOf(circle, layer), circle, layer),
			args: []string{"sync", "cache", "dst"}, status: exitDone, says: "note: latest: copied as it is, but BuildKit will not import it in full: ",
		},
		{
			name: "config of 15 MiB", make: layoutOf(artifactOf(config), config),
			args: []string{"verify", "cache"}, status: exitFound, says: "config-invalid|config-too-large",
		},
		{
			name: "config of 15 MiB, converted", make: layoutOf(artifactOf(config), config),
			args: []string{"convert", "cache", "--to", "oci-index"}, status: exitFailed, says: "JSON values|limit", alike: true,
		},
		{name: "index.json of depth", make: all(copied, write("cache/index.json", nested)), args: []string{"inspect", "cache"}, status: exitFailed, says: "index.json"},
		{name: "number of many digits", make: all(copied, write("cache/index.json", number)), args: []string{"inspect", "cache"}, status: exitFailed, says: "index.json"},
		{
			name: "root of a million layers", make: layoutOf(manyLayers),
			args: []string{"verify", "cache"}, status: exitFound, says: "root-invalid",
		},
		{
			name: "description of objects", make: bomb(60<<20, `{"ocicacheBundle":1,"index":"sha256:`+hostileHex+`","blobs":[`, "{},", "{}]}"),
			args: []string{"unpack", "a.tar.zst", "dst"}, status: exitFailed, says: "bundle description", memory: 400,
		},
		{
			name: "description of numbers", make: bomb(60<<20, `{"ocicacheBundle":1,"blobs":[`, "0,", "0]}"),
			args: []string{"unpack", "a.tar.zst", "dst"}, status: exitFailed, says: "bundle description", memory: 400, alike: true,
		},
		{
			name: "description over the limit", make: bomb(80<<20, ``, "{},", ""),
			args: []string{"unpack", "a.tar.zst", "dst"}, status: exitFailed, says: "ocicache.json.*limit",
		},
		{
			name: "receipt of objects", make: all(copied, write("r", filled(30<<20, `{"ocicacheReceipt":1,"blobs":[`, "{},", "{}]}"))),
			args: []string{"pack", "cache", "a.tar", "--have", "r"}, status: exitFailed, says: "bad receipt",
		},
		{
			name: "many tags of a large root", make: manyTagsOfOne,
			args: []string{"inspect", "cache"}, status: exitDone, says: "tag t999",
		},
		{
			name: "members twice", make: all(copied, write("cache/index.json", []byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:x","digest":"sha256:../../x","size":1,"mediaType":"m"}]}`))),
			args: []string{"inspect", "cache"}, status: exitFailed, says: "digest",
		},
		{
			name: "lists twice", make: all(copied, write("cache/index.json", []byte(`{"schemaVersion":2,"manifests":[],"manifests":[{"digest":"sha256:../../x","size":1,"mediaType":"m"}]}`))),
			args: []string{"inspect", "cache"}, status: exitFailed, says: "several lists",
		},
	}
}

// TestHostileInputs runs the program on what nobody should have made, with bounds.
func TestHostileInputs(t *testing.T) {
	t.Parallel()
	for _, cases := range [][]hostileCase{
		hostileFiles(), hostileJSON(), hostileLayers(), hostileLinks(), hostileRegistries(t),
	} {
		for _, c := range cases {
			if c.alike && quicktest.Rounds(0, 1) == 0 {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t)
			})
		}
	}
}
