package convert_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// editLayer rewrites the root of a layout with another descriptor for one layer.
func editLayer(t *testing.T, path string, blob digest.Digest, change func(*buildcache.Descriptor)) {
	t.Helper()
	place := open(t, path)
	cache := load(t, place, "latest")
	for i := range cache.Root.Layers {
		if cache.Root.Layers[i].Digest == blob {
			change(&cache.Root.Layers[i])
		}
	}
	root := putBlob(t, place, marshal(t, cache.Root))
	root.MediaType = cache.Root.MediaType
	if err := place.Tag(t.Context(), "latest", root, cache.Descriptor.Digest); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, raw, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// flip changes one byte of a blob.
func flip(at func(size int) int) func(t *testing.T, path string, layer buildcache.Descriptor) {
	return func(t *testing.T, path string, layer buildcache.Descriptor) {
		t.Helper()
		file := blobPath(path, layer.Digest)
		raw := readFile(t, file)
		raw[at(len(raw))] ^= 0x40
		overwrite(t, file, raw)
	}
}

func isBlobError(want error) func(error, buildcache.Descriptor) bool {
	return func(err error, layer buildcache.Descriptor) bool {
		var blob *layout.BlobError
		return errors.As(err, &blob) && blob.Digest == layer.Digest && errors.Is(err, want)
	}
}

func isProofError(kind buildcache.Kind) func(error, buildcache.Descriptor) bool {
	return func(err error, layer buildcache.Descriptor) bool {
		var proof *convert.ProofError
		return errors.As(err, &proof) && proof.Problems[0].Kind == kind && proof.Problems[0].Digest == layer.Digest
	}
}

var (
	toZstd    = convert.Options{Compression: buildcache.Zstd}
	toEstargz = convert.Options{Compression: buildcache.Estargz}
	toList    = convert.Options{Form: buildcache.DockerList}
	isMissing = isProofError(buildcache.BlobMissing)
	isDamaged = isBlobError(layout.ErrBlobDamaged)
)

// damages are what may be wrong with a layer of the source, and how the conversion says so.
var damages = []struct {
	name   string
	damage func(t *testing.T, path string, layer buildcache.Descriptor)
	o      convert.Options
	dst    bool // only into another layout: in place the damage is not looked for
	want   func(err error, layer buildcache.Descriptor) bool
}{
	{"missing, form", remove, toList, false, isMissing},
	{"missing, recompressed", remove, toZstd, false, isMissing},
	{"missing, copied", remove, convert.Options{}, true, isMissing},
	{"truncated, form", truncate, toList, false, isProofError(buildcache.BlobDamaged)},
	{"truncated, recompressed", truncate, toZstd, false, isProofError(buildcache.BlobDamaged)},
	{"longer, recompressed", lengthen, toZstd, false, isProofError(buildcache.BlobSize)},
	{"altered, form", flip(middle), toList, true, isDamaged},
	{"altered, copied", flip(middle), convert.Options{}, true, isDamaged},
	{"altered in the header", flip(func(int) int { return 5 }), toZstd, false, isDamaged},
	{"altered in the end", flip(func(size int) int { return size - 1 }), toZstd, false, isDamaged},
	{"altered in the middle", flip(middle), toZstd, false, isDamaged},
	{"altered in the middle, estargz", flip(middle), toEstargz, false, isDamaged},
	{"altered magic bytes", flip(func(int) int { return 0 }), toZstd, false, isDamaged},
	{"wrong diffID", wrongDiffID, toZstd, false, func(err error, layer buildcache.Descriptor) bool {
		var diffID *convert.DiffIDError
		return errors.As(err, &diffID) && diffID.Blob == layer.Digest && diffID.Want == digest.FromString("another") &&
			diffID.Got == layer.DiffID()
	}},
}

func middle(size int) int { return size / 2 }

func remove(t *testing.T, path string, layer buildcache.Descriptor) {
	t.Helper()
	if err := os.Remove(blobPath(path, layer.Digest)); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, layer buildcache.Descriptor) {
	t.Helper()
	if err := os.Truncate(blobPath(path, layer.Digest), layer.Size-1); err != nil {
		t.Fatal(err)
	}
}

func lengthen(t *testing.T, path string, layer buildcache.Descriptor) {
	t.Helper()
	file := blobPath(path, layer.Digest)
	overwrite(t, file, append(readFile(t, file), 0))
}

func wrongDiffID(t *testing.T, path string, layer buildcache.Descriptor) {
	t.Helper()
	editLayer(t, path, layer.Digest, func(d *buildcache.Descriptor) {
		*d = d.Clone()
		d.Annotations[buildcache.AnnotationDiffID] = digest.FromString("another").String()
	})
}

// TestRefuseHalfTar has a layer with the right digests, of which BuildKit can't take the files out.
func TestRefuseHalfTar(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	halfTar(t, path, buildcache.Gzip)
	before := layouttest.Tree(t, path)
	src := open(t, path)
	held := layouttest.CopyCorpus(t, "artifact-gzip")
	halfTar(t, held, buildcache.Zstd)
	for name, dst := range map[string]layout.Place{"recompressed": layouttest.Create(t), "reused": open(t, held)} {
		_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), dst, "other", toZstd)
		var files *convert.TarError
		if !errors.As(err, &files) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	layouttest.WantTree(t, path, before)
}

// TestRepairHalfTar wants repair to drop what verify says that BuildKit can't extract.
func TestRepairHalfTar(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	halfTar(t, path, buildcache.Gzip)
	kinds, left, _ := repairAll(t, open(t, path), convert.RepairOptions{Deep: true, Write: true})
	if !slices.Equal(kinds, []string{string(buildcache.LayerUnreadable)}) || left > 0 {
		t.Errorf("got %q, and %d left", kinds, left)
	}
	src := open(t, path)
	if _, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), layouttest.Create(t), "latest", toZstd); err != nil {
		t.Errorf("convert what was repaired: %v", err)
	}
}

// TestRefuseEstargz has layers that BuildKit reads, but that estargz can't hold, and one that BuildKit can't read either.
func TestRefuseEstargz(t *testing.T) {
	t.Parallel()
	header := tar.Header{Name: "f", Mode: 0o644, Size: 700}
	var file bytes.Buffer
	w := tar.NewWriter(&file)
	if err := errors.Join(w.WriteHeader(&header), errOf(w.Write(make([]byte, 700)))); err != nil {
		t.Fatal(err)
	}
	var global bytes.Buffer
	w = tar.NewWriter(&global)
	if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}), w.Close()); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		tar []byte
		bad bool // for BuildKit
	}{
		"one block of zeros at its end": {tar: append(append(bytes.Clone(file.Bytes()), make([]byte, 1024-700)...), make([]byte, 512)...)},
		"no padding":                    {tar: file.Bytes()},
		"a global header":               {tar: global.Bytes()},
		"cut in a file":                 {tar: file.Bytes()[:1000], bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := layouttest.CopyCorpus(t, "artifact-gzip")
			otherTar(t, path, buildcache.Gzip, tt.tar)
			src := open(t, path)
			_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), layouttest.Create(t), "latest", toEstargz)
			var (
				unfit *convert.EstargzError
				files *convert.TarError
			)
			if errors.As(err, &unfit) == tt.bad || errors.As(err, &files) != tt.bad {
				t.Errorf("estargz: %v", err)
			}
			if _, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), layouttest.Create(t), "latest", toZstd); err != nil != tt.bad {
				t.Errorf("zstd: %v", err)
			}
		})
	}
}

func errOf(_ int, err error) error { return err }

// TestRefuseEmptyTar has a layer of no bytes at all, which BuildKit does not read uncompressed.
func TestRefuseEmptyTar(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	otherTar(t, path, buildcache.Gzip, nil)
	src, dst := open(t, path), layouttest.Create(t)
	before := layouttest.Tree(t, dst.String())
	_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), dst, "latest", convert.Options{Compression: buildcache.Uncompressed})
	if empty := new(convert.EmptyTarError); !errors.As(err, &empty) {
		t.Errorf("uncompressed: %v", err)
	}
	layouttest.WantTree(t, dst.String(), before, ".", "cache.lock")
	for _, compression := range []buildcache.Compression{buildcache.Zstd, buildcache.Estargz} {
		if _, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), dst, "latest", convert.Options{Compression: compression}); err != nil {
			t.Errorf("%s: %v", compression, err)
		}
	}
}

// halfTar has a layer of a corpus cache end within a file, with the digests that this has.
func halfTar(t *testing.T, path string, compression buildcache.Compression) {
	t.Helper()
	var whole bytes.Buffer
	if err := tar.NewWriter(&whole).WriteHeader(&tar.Header{Name: "f", Mode: 0o644, Size: 2000}); err != nil {
		t.Fatal(err)
	}
	otherTar(t, path, compression, whole.Bytes())
}

// otherTar gives a layer of a corpus cache another tar, with the digests that this has.
func otherTar(t *testing.T, path string, compression buildcache.Compression, whole []byte) {
	t.Helper()
	var packed bytes.Buffer
	if _, err := compress.Encode(&packed, bytes.NewReader(whole), compression, 0); err != nil {
		t.Fatal(err)
	}
	place := open(t, path)
	cache := load(t, place, "latest")
	layer := layersOf(cache)[5]
	half := putBlob(t, place, packed.Bytes())
	root, config := buildcache.ReplaceLayers(cache.Root, cache.Config, map[digest.Digest]buildcache.Blob{layer.Digest: {
		Digest: half.Digest, Size: half.Size, DiffID: digest.FromBytes(whole), Compression: compression,
	}})
	of := putBlob(t, place, marshal(t, config))
	root.Config.Digest, root.Config.Size = of.Digest, of.Size
	descriptor := putBlob(t, place, marshal(t, root))
	descriptor.MediaType = root.MediaType
	if err := place.Tag(t.Context(), "latest", descriptor, cache.Descriptor.Digest); err != nil {
		t.Fatal(err)
	}
}

// TestRefuseDamage damages one layer and wants the conversion refused, the source as it was, and no tag moved.
func TestRefuseDamage(t *testing.T) {
	t.Parallel()
	for _, tt := range damages {
		for _, inPlace := range []bool{false, true} {
			if inPlace && tt.dst {
				continue
			}
			name := tt.name + ", to another layout"
			if inPlace {
				name = tt.name + ", in place"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				path := layouttest.CopyCorpus(t, "artifact-gzip")
				layer := layersOf(load(t, open(t, path), "latest"))[5]
				tt.damage(t, path, layer)
				before := layouttest.Tree(t, path)
				src := open(t, path)
				dst := src
				if !inPlace {
					dst = layouttest.Create(t)
				}
				_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), dst, "latest", tt.o)
				if err == nil || !tt.want(err, layer) {
					t.Errorf("refused with %v", err)
				} else if !strings.Contains(err.Error(), layer.Digest.String()) && !isMissing(err, layer) {
					t.Errorf("the layer %s is not named: %v", layer.Digest, err)
				}
				wantRefused(t, path, before, dst, inPlace)
			})
		}
	}
}

// TestRefuseOnce counts a blob once that is not there, however often the root lists it: as verify does.
func TestRefuseOnce(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	src := open(t, path)
	listed := map[digest.Digest]int{}
	for _, layer := range load(t, src, "latest").Root.Layers {
		if listed[layer.Digest]++; listed[layer.Digest] != 2 {
			continue
		}
		remove(t, path, layer)
		for _, o := range []convert.Options{toList, {}} {
			_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), layouttest.Create(t), "latest", o)
			if !isMissing(err, layer) || strings.Contains(err.Error(), " more") {
				t.Errorf("%+v: refused with %v", o, err)
			}
		}
		return
	}
	t.Fatal("no layer is listed twice")
}

// wantRefused wants a source as it was, and a destination that shows nothing.
func wantRefused(t *testing.T, path string, before map[string]string, dst *layout.Dir, inPlace bool) {
	t.Helper()
	wantNoTemporary(t, dst.String())
	if inPlace {
		wantKept(t, path, before)
		return
	}
	layouttest.WantTree(t, path, before)
	wantIntact(t, dst.String())
	if entries, err := dst.Entries(t.Context()); err != nil || len(entries) > 0 {
		t.Errorf("the destination has %v, %v", entries, err)
	}
}

// TestRefuseTooLarge refuses a list of more than 1 MiB made of an artifact of less.
func TestRefuseTooLarge(t *testing.T) {
	t.Parallel()
	src := sparseOf(t, buildcache.Artifact, 3325, 1)
	if size := layouttest.Entry(t, src, "latest").Descriptor.Size; size > buildcache.MaxImport || size < buildcache.MaxImport-10_000 {
		t.Fatalf("the root has %d bytes", size)
	}
	before := layouttest.Tree(t, src.String())
	_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), src, "latest", toList)
	var proof *convert.ProofError
	if !errors.As(err, &proof) || len(proof.Problems) != 1 || proof.Problems[0].Kind != buildcache.RootTooLarge {
		t.Fatalf("refused with %v", err)
	}
	if text := err.Error(); !strings.Contains(text, "1048576") || !strings.Contains(text, "3325 layers") {
		t.Errorf("the message does not say what and why: %s", text)
	}
	wantRefused(t, src.String(), before, src, true)
}

// TestRefuseForeign leaves alone what is no cache, as source and as destination.
func TestRefuseForeign(t *testing.T) {
	t.Parallel()
	t.Run("tag of an image", func(t *testing.T) {
		t.Parallel()
		path := layouttest.CopyCorpus(t, "inline-image")
		addLock(t, path)
		before := layouttest.Tree(t, path)
		dst, src := open(t, path), openCorpus(t, "artifact-gzip")
		_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), dst, "1", toList)
		var taken *layout.TakenError
		if !errors.As(err, &taken) || taken.Tag != "1" || taken.Place != path {
			t.Errorf("refused with %v", err)
		}
		layouttest.WantTree(t, path, before)

		if _, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), dst, "cache", toList); err != nil {
			t.Fatal(err)
		}
		wantClean(t, dst, "cache")
		delete(before, "index.json")
		wantKept(t, path, before)
		entries, err := dst.Entries(t.Context())
		if err != nil || len(entries) != 2 || entries[0].Tag != "1" {
			t.Errorf("%v, %v", entries, err)
		}
	})
	t.Run("image", func(t *testing.T) {
		t.Parallel()
		path := layouttest.CopyCorpus(t, "inline-image")
		addLock(t, path)
		before := layouttest.Tree(t, path)
		src := open(t, path)
		entries, err := src.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := convert.Convert(t.Context(), src, entries[0], src, "1", toZstd); !errors.Is(err, buildcache.ErrNotCache) {
			t.Errorf("refused with %v", err)
		}
		layouttest.WantTree(t, path, before)
	})
	t.Run("dangling", func(t *testing.T) {
		t.Parallel()
		path := layouttest.CopyCorpus(t, "dangling-index")
		before := layouttest.Tree(t, path)
		src := open(t, path)
		entries, err := src.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := convert.Convert(t.Context(), src, entries[0], src, "latest", toZstd); !errors.Is(err, layout.ErrBlobMissing) {
			t.Errorf("refused with %v", err)
		}
		layouttest.WantTree(t, path, before)
	})
	t.Run("level", func(t *testing.T) {
		t.Parallel()
		path := layouttest.CopyCorpus(t, "artifact-gzip")
		before := layouttest.Tree(t, path)
		src := open(t, path)
		o := convert.Options{Compression: buildcache.Gzip, Level: 10}
		if _, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), src, "latest", o); err == nil {
			t.Error("a level that there is none of was taken")
		}
		layouttest.WantTree(t, path, before)
	})
	t.Run("unknown names", func(t *testing.T) {
		t.Parallel()
		path := layouttest.CopyCorpus(t, "artifact-gzip")
		before := layouttest.Tree(t, path)
		src := open(t, path)
		for _, o := range []convert.Options{{Compression: "Zstd"}, {Form: "Artifact"}, {Form: buildcache.DockerManifest}} {
			if _, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), src, "latest", o); err == nil {
				t.Errorf("taken: compression %q, form %q", o.Compression, o.Form)
			}
		}
		layouttest.WantTree(t, path, before)
	})
	t.Run("config", func(t *testing.T) {
		t.Parallel()
		path := layouttest.CopyCorpus(t, "artifact-gzip")
		config := load(t, open(t, path), "").Root.Config
		flip(middle)(t, path, config)
		before := layouttest.Tree(t, path)
		src := open(t, path)
		_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), src, "latest", toList)
		if !isDamaged(err, config) {
			t.Errorf("refused with %v", err)
		}
		layouttest.WantTree(t, path, before)
	})
	t.Run("rules of the destination", func(t *testing.T) {
		t.Parallel()
		path := layouttest.CopyCorpus(t, "artifact-gzip")
		before := layouttest.Tree(t, path)
		src := open(t, path)
		asked := buildcache.Form("")
		o := convert.Options{Form: buildcache.DockerList, Rules: rules(func(c *layout.Cache) []buildcache.Problem {
			asked = c.Root.Form
			return []buildcache.Problem{buildcache.NewProblem(buildcache.RootTooLarge, "root", "no")}
		})}
		_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), src, "latest", o)
		var preflight *convert.PreflightError
		if !errors.As(err, &preflight) || asked != buildcache.DockerList {
			t.Errorf("asked about %q, refused with %v", asked, err)
		}
		layouttest.WantTree(t, path, before)
	})
}

// addLock makes the file that a writer locks, which BuildKit leaves in a layout for good.
func addLock(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path, "cache.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRefuseLocked meets a process that deletes.
func TestRefuseLocked(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	before := layouttest.Tree(t, path)
	file, err := os.OpenFile(filepath.Join(path, "cache.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	src, err := layout.Open(path, layout.Options{LockTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), src, "latest", toZstd)
	var locked *layout.LockedError
	if !errors.As(err, &locked) || locked.Path != file.Name() {
		t.Errorf("refused with %v", err)
	}
	layouttest.WantTree(t, path, before)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, src, src, toZstd)
	wantClean(t, src, "latest")
}

// TestRefuseMovedTag moves the tag while layers are being recompressed.
func TestRefuseMovedTag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		move func(t *testing.T, dir *layout.Dir, was, to buildcache.Descriptor)
	}{
		{"moved", func(t *testing.T, dir *layout.Dir, was, to buildcache.Descriptor) {
			if err := dir.Tag(t.Context(), "latest", to, was.Digest); err != nil {
				t.Error(err)
			}
		}},
		{"removed", func(t *testing.T, dir *layout.Dir, _, _ buildcache.Descriptor) {
			overwrite(t, filepath.Join(dir.String(), "index.json"), []byte(`{"schemaVersion":2,"manifests":[]}`))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := layouttest.CopyCorpus(t, "artifact-gzip")
			src := open(t, path)
			other, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), src, "other", toList)
			if err != nil {
				t.Fatal(err)
			}
			was, to := layouttest.Entry(t, src, "latest").Descriptor, layouttest.Entry(t, src, "other").Descriptor
			var once sync.Once
			var moved map[string]string
			o := toZstd
			o.OnEvent = func(e layout.Event) {
				if e.Kind == layout.EventDone {
					once.Do(func() {
						tt.move(t, open(t, path), was, to)
						moved = map[string]string{"index.json": layouttest.Tree(t, path)["index.json"]}
					})
				}
			}
			_, err = convert.Convert(t.Context(), src, layout.Entry{Tag: "latest", Descriptor: was}, src, "latest", o)
			var tag *layout.TagMovedError
			if !errors.As(err, &tag) || tag.Was != was.Digest || tt.name == "moved" && tag.Now != other.To.Digest {
				t.Errorf("refused with %v", err)
			}
			wantKept(t, path, moved)
			wantIntact(t, path)
			wantNoTemporary(t, path)
		})
	}
	t.Run("made", func(t *testing.T) {
		t.Parallel()
		src, dst := openCorpus(t, "artifact-gzip"), layouttest.Create(t)
		list := openCorpus(t, "docker-list-gzip")
		var once sync.Once
		o := toZstd
		o.OnEvent = func(e layout.Event) {
			if e.Kind == layout.EventDone {
				once.Do(func() {
					if _, err := convert.Convert(t.Context(), list, layouttest.Entry(t, list, ""), dst, "latest", convert.Options{}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), dst, "latest", o)
		var tag *layout.TagMovedError
		if !errors.As(err, &tag) || tag.Was != "" {
			t.Errorf("refused with %v", err)
		}
		wantEqual(t, "root", layouttest.Entry(t, dst, "latest").Descriptor.Digest, layouttest.Entry(t, list, "").Descriptor.Digest)
		wantClean(t, dst, "latest")
		wantNoTemporary(t, dst.String())
	})
}

// TestInterrupted cancels half-way, and goes on from there.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, inPlace := range []bool{false, true} {
		path := layouttest.CopyCorpus(t, "artifact-gzip")
		src := open(t, path)
		dst := src
		if !inPlace {
			dst = layouttest.Create(t)
		}
		before, cache := layouttest.Tree(t, path), layouttest.Entry(t, src, "latest")
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("interrupted")
		var mu sync.Mutex
		done := 0
		o := toZstd
		o.Jobs = 2
		o.OnEvent = func(e layout.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == layout.EventDone && e.Err == nil {
				if done++; done == 5 {
					cancel(reason)
				}
			}
		}
		if _, err := convert.Convert(ctx, src, cache, dst, "latest", o); !errors.Is(err, reason) {
			t.Errorf("interrupted with %v", err)
		}
		wantRefused(t, path, before, dst, inPlace)
		wantClean(t, src, "latest")

		result := run(t, src, dst, toZstd)
		if n := actions(result)[convert.Reuse]; n < 5 {
			t.Errorf("%d layers were reused of at least 5", n)
		}
		wantClean(t, dst, "latest")
		wantEqual(t, "root", result.To.Digest, run(t, openCorpus(t, "artifact-gzip"), layouttest.Create(t), toZstd).To.Digest)
	}
}

// TestCancelledBefore does nothing at all.
func TestCancelledBefore(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	before := layouttest.Tree(t, path)
	src := open(t, path)
	cache := layouttest.Entry(t, src, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, o := range []convert.Options{toList, toZstd} {
		if _, err := convert.Convert(ctx, src, cache, src, "latest", o); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	}
	layouttest.WantTree(t, path, before)
}

// TestRefuseUnpackable meets a layer that never was what its first bytes say: no copy of it is better.
func TestRefuseUnpackable(t *testing.T) {
	t.Parallel()
	s := newSynthetic(t, buildcache.Artifact)
	raw := gzipBytes(t, tarOf(t, 1, 4<<10))
	raw[len(raw)/2] ^= 0x40
	d, size := s.blob(raw)
	s.layer(d, size, buildcache.Gzip, digest.FromString("the tar"))
	src := s.tag()
	addLock(t, s.path)
	before := layouttest.Tree(t, s.path)
	for _, o := range []convert.Options{toZstd, toEstargz} {
		_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), src, "latest", o)
		var unpack *compress.DecodeError
		var blob *layout.BlobError
		if !errors.As(err, &unpack) || errors.As(err, &blob) || !strings.Contains(err.Error(), d.String()) {
			t.Errorf("refused with %v", err)
		}
	}
	wantRefused(t, s.path, before, src, true)
}

// rules take every form, and check as the function does.
type rules func(*layout.Cache) []buildcache.Problem

func (r rules) Candidates(source buildcache.Form) []buildcache.Form { return []buildcache.Form{source} }
func (r rules) RefusesForm(error) bool                              { return false }
func (r rules) Check(c *layout.Cache) []buildcache.Problem          { return r(c) }
