package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// snapshot returns what lies below a directory.
func snapshot(tb testing.TB, root string) map[string]string {
	tb.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		files[path] = entry.Type().String()
		if entry.Type().IsRegular() {
			data, err := os.ReadFile(path)
			files[path] = digest.FromBytes(data).String()
			return err
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		tb.Fatal(err)
	}
	return files
}

// variants are the ways in which a directory becomes a tar.
func variants(tb testing.TB, path string) map[string][]byte {
	tb.Helper()
	all := map[string][]byte{"ours": tarOf(tb, bundleEntries(tb, path, nil))}
	for name, prefix := range map[string]string{
		"from within": "", "of .": "./", "from outside": "cache/", "of ./cache": "./cache/", "from far outside": "var/lib/cache/",
	} {
		all[name] = tarOf(tb, layoutEntries(tb, path, prefix))
	}
	entries := layoutEntries(tb, path, "")
	slices.Reverse(entries)
	all["backwards"] = tarOf(tb, entries)
	padded := tarOf(tb, layoutEntries(tb, path, ""))
	all["padded"] = append(padded, make([]byte, 10240-len(padded)%10240)...)
	all["with others"] = tarOf(tb, append(layoutEntries(tb, path, ""),
		tarEntry{name: "manifest.json", data: []byte("[]")}, tarEntry{name: "ingest/1/data", data: []byte("half")},
		tarEntry{name: ".ocicache/journal", data: []byte("{}")}))
	return all
}

// TestUnpack unpacks the corpus, twice: one cache packed in all manners, in all ways, the others in all manners, each in one
// way, and in all ways.
func TestUnpack(t *testing.T) {
	t.Parallel()
	for c, cache := range []string{"artifact-gzip", "docker-list-zstd", "inline-image", "multi-platform", "multi-tag", "stale-blobs", "v0.11.6-docker-list"} {
		path := filepath.Join(caches, cache)
		all := variants(t, path)
		for v, variant := range slices.Sorted(maps.Keys(all)) {
			data, ways := all[variant], ways()
			if c > 0 {
				ways = ways[(c+v)%len(ways):][:1]
			}
			for _, w := range ways {
				t.Run(cache+"/"+variant+"/"+w.name, func(t *testing.T) {
					t.Parallel()
					dst := emptyDir(t)
					want := tagsOf(t, path)
					result, err := w.unpack(t, data, dst, archive.UnpackOptions{})
					if err != nil {
						t.Fatal(err)
					}
					wantWhole(t, dst)
					wantTags(t, dst, want)
					checkResult(t, result, want, "")
					if (variant == "ours") != (result.ID != "") {
						t.Errorf("id %q", result.ID)
					}
					passed := map[string]int{"with others": 4, "ours": 0}
					if n, ok := passed[variant]; ok && cache == "artifact-gzip" && result.PassedOver != n {
						t.Errorf("passed over %d files, want %d", result.PassedOver, n)
					}
					first := result.Written
					if first.Blobs == 0 || result.Present.Blobs+result.FromBase.Blobs > 0 {
						t.Errorf("first: %+v", result)
					}

					before := snapshot(t, dst.String())
					if result, err = w.unpack(t, data, dst, archive.UnpackOptions{}); err != nil {
						t.Fatal(err)
					}
					if result.Written.Blobs > 0 || result.Present != first {
						t.Errorf("again: %+v, want %+v present", result, first)
					}
					for _, tag := range result.Tags {
						if tag.Was != tag.Digest {
							t.Errorf("again: %+v", tag)
						}
					}
					if !maps.Equal(snapshot(t, dst.String()), before) {
						t.Error("something was written again")
					}
				})
			}
		}
	}
}

func checkResult(t *testing.T, result *archive.UnpackResult, want map[string]digest.Digest, was digest.Digest) {
	t.Helper()
	got := map[string]digest.Digest{}
	for _, tag := range result.Tags {
		got[tag.Tag] = tag.Digest
		if tag.Was != was {
			t.Errorf("tag %s was %q", tag.Tag, tag.Was)
		}
		kind := layout.KindCache
		if tag.Tag == "1" {
			kind = layout.KindImage
		}
		if tag.Kind != kind {
			t.Errorf("tag %s is of kind %q", tag.Tag, tag.Kind)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("result has %v, want %v", got, want)
	}
}

// TestUnpackWithRealTools unpacks what tar, gzip, zstd and skopeo make.
func TestUnpackWithRealTools(t *testing.T) {
	t.Parallel()
	outside, err := filepath.Abs(caches)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		cache string
		args  []string
		tag   string
	}{
		{"artifact-gzip", []string{"tar", "cf", "OUT", "-C", outside, "artifact-gzip"}, "latest"},
		{"artifact-gzip", []string{"tar", "cf", "OUT", "-C", outside + "/artifact-gzip", "."}, "latest"},
		{"artifact-gzip", []string{"tar", "--format=pax", "-cf", "OUT", outside + "/artifact-gzip"}, "latest"},
		{"artifact-gzip", []string{"tar", "--format=v7", "-cf", "OUT", "-C", outside, "artifact-gzip"}, "latest"},
		{"docker-list-gzip", []string{"tar", "czf", "OUT", "-C", outside, "docker-list-gzip"}, "latest"},
		{"docker-list-gzip", []string{"tar", "--zstd", "-cf", "OUT", "-C", outside, "docker-list-gzip"}, "latest"},
		{"inline-image", []string{"skopeo", "copy", "oci:" + outside + "/inline-image:1", "oci-archive:OUT:1"}, "1"},
		{"inline-image", []string{"skopeo", "copy", "oci:" + outside + "/inline-image:1", "oci-archive:OUT"}, "latest"},
	} {
		if _, err := exec.LookPath(test.args[0]); err != nil {
			t.Logf("NOT TESTED: there is no %s here", test.args[0])
			continue
		}
		t.Run(strings.Join(test.args[:2], " "), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "archive")
			args := slices.Clone(test.args)
			for i := range args {
				args[i] = strings.Replace(args[i], "OUT", file, 1)
			}
			if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			dst := emptyDir(t)
			opened, err := archive.Open(t.Context(), []string{file}, archive.OpenOptions{})
			if err == nil {
				_, err = archive.Unpack(t.Context(), opened, dst, archive.UnpackOptions{})
				err = errors.Join(err, opened.Close())
			} else if errors.Is(err, archive.ErrStream) {
				var data []byte
				if data, err = os.ReadFile(file); err == nil {
					_, err = archive.UnpackStream(t.Context(), bytes.NewReader(data), file, dst, archive.UnpackOptions{})
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			wantWhole(t, dst)
			tags := tagsOf(t, filepath.Join(caches, test.cache))
			wantTags(t, dst, map[string]digest.Digest{test.tag: slices.Collect(maps.Values(tags))[0]})
		})
	}
}

// leftOut makes an archive of ours without some blobs, and returns what they are.
func leftOut(tb testing.TB, path string, left func(buildcache.Descriptor) bool) (data []byte, required map[digest.Digest]int64) {
	tb.Helper()
	dir := openDir(tb, path)
	entries, err := dir.Entries(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	required = map[digest.Digest]int64{}
	for _, entry := range entries {
		blobs, err := layout.Graph(tb.Context(), dir, entry.Descriptor)
		if err != nil {
			tb.Fatal(err)
		}
		for _, blob := range blobs {
			if left(blob) {
				required[blob.Digest] = blob.Size
			}
		}
	}
	data = tarOf(tb, bundleEntries(tb, path, func(d digest.Digest) bool { _, ok := required[d]; return ok }))
	return data, required
}

func everything(buildcache.Descriptor) bool { return true }
func isRoot(d buildcache.Descriptor) bool   { return buildcache.IsManifestType(d.MediaType) }
func isLayer(d buildcache.Descriptor) bool {
	_, ok := buildcache.LayerCompression(d.MediaType)
	return ok
}

// TestUnpackMissing says that everything which is missing is listed, and nothing is written.
func TestUnpackMissing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "multi-tag")
	for _, test := range []struct {
		name    string
		left    func(buildcache.Descriptor) bool
		partial bool
	}{
		{"layers", isLayer, false},
		{"all", everything, false},
		{"roots", isRoot, false},
		{"configs", func(d buildcache.Descriptor) bool { return d.MediaType == buildcache.MediaTypeConfig }, false},
	} {
		data, required := leftOut(t, path, test.left)
		for _, w := range ways() {
			t.Run(test.name+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				create := func(context.Context) (*layout.Dir, error) {
					t.Error("the layout was made though blobs are missing")
					return nil, errors.New("no")
				}
				for _, dst := range []*layout.Dir{nil, dirOf(t, "inline-image")} {
					watched := dir
					if dst != nil {
						watched = dst.String()
					}
					before := snapshot(t, watched)
					_, err := w.unpack(t, data, dst, archive.UnpackOptions{Create: create})
					wantMissing(t, err, dst, required, test.partial)
					if now := snapshot(t, watched); !maps.Equal(now, before) {
						t.Errorf("something was written: %v, before %v", now, before)
					}
				}
			})
		}
	}
}

// TestUnpackMissingManifests is about an archive of others: it does not say what it lacks, so what a missing manifest needs
// can't be known.
func TestUnpackMissingManifests(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "multi-tag")
	root, layer := tagsOf(t, path)["v1"], digest.Digest("")
	dir := openDir(t, path)
	entry, err := layout.OneCache(t.Context(), dir, "v2")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := layout.Load(t.Context(), dir, entry)
	if err != nil {
		t.Fatal(err)
	}
	layer = cache.Root.Layers[0].Digest
	entries := slices.DeleteFunc(layoutEntries(t, path, ""), func(e tarEntry) bool {
		return e.name == blobName(root) || e.name == blobName(layer)
	})
	for _, w := range ways() {
		var e *archive.MissingError
		_, err := w.unpack(t, tarOf(t, entries), emptyDir(t), archive.UnpackOptions{})
		if !errors.As(err, &e) || len(e.Blobs) != 2 || !e.Partial {
			t.Errorf("%s: got %v, want a *MissingError with %s and %s, and maybe more", w.name, err, root, layer)
		}
	}
}

// wantMissing says that an error lists blobs, those that dst does not have.
func wantMissing(t *testing.T, err error, dst *layout.Dir, required map[digest.Digest]int64, partial bool) {
	t.Helper()
	var e *archive.MissingError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *MissingError", err)
	}
	got := map[digest.Digest]int64{}
	for _, blob := range e.Blobs {
		got[blob.Digest] = blob.Size
		if !strings.Contains(err.Error(), blob.Digest.String()) || len(blob.Tags) == 0 {
			t.Errorf("%s: tags %v, or not in %q", blob.Digest, blob.Tags, err)
		}
	}
	for blob, size := range required {
		has := false
		if dst != nil {
			has, _ = dst.Has(t.Context(), buildcache.Descriptor{Digest: blob, Size: size})
		}
		if n, ok := got[blob]; ok == has && !partial || ok && n != size {
			t.Errorf("%s of %d bytes: listed %v with %d, in the layout %v", blob, size, ok, n, has)
		}
		delete(got, blob)
	}
	if len(got) > 0 || e.Partial != partial {
		t.Errorf("too much: %v, partial %v", got, e.Partial)
	}
}

// TestUnpackRequired unpacks archives whose required blobs are in the layout, or in a base.
func TestUnpackRequired(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "multi-tag")
	for _, test := range []struct {
		name string
		left func(buildcache.Descriptor) bool
	}{{"nothing", func(buildcache.Descriptor) bool { return false }}, {"layers", isLayer}, {"roots", isRoot}, {"all", everything}} {
		data, required := leftOut(t, path, test.left)
		for _, w := range ways() {
			for _, where := range []string{"layout", "base", "archive as base"} {
				t.Run(test.name+"/"+w.name+"/"+where, func(t *testing.T) {
					t.Parallel()
					dst, o := emptyDir(t), archive.UnpackOptions{}
					switch where {
					case "base":
						o.Base = openDir(t, path)
					case "archive as base":
						base, err := openArchive(t, tarOf(t, layoutEntries(t, path, "")))
						if err != nil {
							t.Fatal(err)
						}
						o.Base = base
					default:
						for blob := range required {
							raw, err := os.ReadFile(filepath.Join(path, blobName(blob)))
							if err != nil {
								t.Fatal(err)
							}
							if err := dst.Put(t.Context(), buildcache.Descriptor{Digest: blob, Size: int64(len(raw))}, layout.OpenBytes(raw)); err != nil {
								t.Fatal(err)
							}
						}
					}
					result, err := w.unpack(t, data, dst, o)
					if err != nil {
						t.Fatal(err)
					}
					wantWhole(t, dst)
					wantTags(t, dst, tagsOf(t, path))
					from := result.Present
					if where != "layout" {
						from = result.FromBase
					}
					if from.Blobs != len(required) || result.Written.Blobs+from.Blobs != 25 {
						t.Errorf("%+v, want %d required", result, len(required))
					}
				})
			}
		}
	}
}

// TestUnpackDamagedLayout says that what the layout has counts only with the right bytes.
func TestUnpackDamagedLayout(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "artifact-gzip")
	layer := pick(t, path, "layer")
	for _, damage := range []string{"altered", "cut"} {
		for _, which := range []string{"layer", "root"} {
			victim := pick(t, path, which)
			data, _ := leftOut(t, path, func(d buildcache.Descriptor) bool { return d.Digest == layer || d.Digest == victim })
			for _, w := range ways() {
				t.Run(damage+"/"+which+"/"+w.name, func(t *testing.T) {
					t.Parallel()
					dst := dirOf(t, "artifact-gzip")
					file := filepath.Join(dst.String(), blobName(victim))
					raw, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					raw[len(raw)/2] ^= 1
					if damage == "cut" {
						raw = raw[:len(raw)/2]
					}
					if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, raw, 0o600)); err != nil {
						t.Fatal(err)
					}
					var e *archive.MissingError
					_, err = w.unpack(t, data, dst, archive.UnpackOptions{})
					if !errors.As(err, &e) || len(e.Blobs) != 1 || e.Blobs[0].Digest != victim || !e.Blobs[0].Damaged {
						t.Fatalf("got %v, want a *MissingError with one damaged blob %s", err, victim)
					}
					// A base mends it, and so does an archive that has it.
					if _, err := w.unpack(t, data, dst, archive.UnpackOptions{Base: openDir(t, path)}); err != nil {
						t.Fatal(err)
					}
					wantWhole(t, dst)
					if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, raw, 0o600)); err != nil {
						t.Fatal(err)
					}
					if _, err := w.unpack(t, tarOf(t, bundleEntries(t, path, nil)), dst, archive.UnpackOptions{}); err != nil {
						t.Fatal(err)
					}
					wantWhole(t, dst)
				})
			}
		}
	}
}

// TestUnpackInterrupted stops in the middle, once a number of blobs is done, and goes on.
func TestUnpackInterrupted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "artifact-gzip")
	for _, kind := range []string{"ours", "from within"} {
		data := variants(t, path)[kind]
		for _, after := range []int32{1, 5, 12} {
			for _, compressed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/%v", kind, after, compressed), func(t *testing.T) {
					t.Parallel()
					dst := emptyDir(t)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					var done atomic.Int32
					o := archive.UnpackOptions{Jobs: 1, OnEvent: func(e layout.Event) {
						if e.Kind == layout.EventDone && done.Add(1) == after {
							cancel()
						}
					}}
					unpack := func(ctx context.Context, o archive.UnpackOptions) (*archive.UnpackResult, error) {
						if compressed {
							return archive.UnpackStream(ctx, bytes.NewReader(zstdOf(t, data)), "the-archive", dst, o)
						}
						opened, err := openArchive(t, data)
						if err != nil {
							t.Fatal(err)
						}
						return archive.Unpack(ctx, opened, dst, o)
					}
					if _, err := unpack(ctx, o); !errors.Is(err, context.Canceled) {
						t.Fatalf("got %v, want an interruption", err)
					}
					wantSound(t, dst)
					wantTags(t, dst, nil)
					result, err := unpack(t.Context(), archive.UnpackOptions{})
					if err != nil {
						t.Fatal(err)
					}
					wantWhole(t, dst)
					wantTags(t, dst, tagsOf(t, path))
					if result.Present.Blobs < int(after)-1 {
						t.Errorf("only %d of %d blobs were found again", result.Present.Blobs, after)
					}
				})
			}
		}
	}
}

// TestUnpackStreamWaiting says that an interruption does not wait for a stream that says nothing.
func TestUnpackStreamWaiting(t *testing.T) {
	t.Parallel()
	data := tarOf(t, bundleEntries(t, filepath.Join(caches, "artifact-gzip"), nil))
	for _, cut := range []int{0, 100, len(data) / 2, len(data)} {
		pr, pw := io.Pipe()
		go func() { _, _ = pw.Write(data[:cut]) }() // and no end
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		dst := emptyDir(t)
		if _, err := archive.UnpackStream(ctx, pr, "the-archive", dst, archive.UnpackOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d bytes: got %v", cut, err)
		}
		cancel()
		_ = pr.Close()
		wantSound(t, dst)
		wantTags(t, dst, nil)
	}
}

// TestUnpackTruncated cuts archives wherever something may happen. No tag moves but for the whole one.
func TestUnpackTruncated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "multi-platform")
	for _, kind := range []string{"ours", "backwards"} {
		data := variants(t, path)[kind]
		var cuts []int
		for cut := 0; cut < len(data); cut += 512 * quicktest.Rounds(17, 5) {
			cuts = append(cuts, cut, cut+1, cut+511)
		}
		dst := emptyDir(t)
		for _, w := range ways()[:2] {
			for _, cut := range append(cuts, len(data)-1024, len(data)-512, len(data)-1) {
				dst = untouched(t, dst)
				var e *archive.HostileError
				_, err := w.unpack(t, data[:min(cut, len(data)-1)], dst, archive.UnpackOptions{})
				if !errors.As(err, &e) {
					t.Errorf("%s, %s, %d bytes: got %v", kind, w.name, cut, err)
				}
				wantTags(t, dst, nil)
			}
		}
		packed := gzipOf(t, data)
		for cut := 0; cut < len(packed); cut += quicktest.Rounds(2999, 977) {
			dst = untouched(t, dst)
			if _, err := archive.UnpackStream(t.Context(), bytes.NewReader(packed[:cut]), "the-archive", dst, archive.UnpackOptions{}); err == nil {
				t.Errorf("%s, gzip, %d bytes: no error", kind, cut)
			}
			wantTags(t, dst, nil)
		}
	}
}

// untouched returns an empty layout: dst, as long as that is one.
func untouched(t *testing.T, dst *layout.Dir) *layout.Dir {
	t.Helper()
	blobs, err := dst.Blobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(blobs) > 0 {
		return emptyDir(t)
	}
	return dst
}

// TestUnpackTagMoved says that a tag which somebody else moves meanwhile stays where he put it.
func TestUnpackTagMoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "artifact-gzip")
	for _, kind := range []string{"ours", "from within"} {
		data := variants(t, path)[kind]
		for _, w := range ways() {
			t.Run(kind+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				dst := dirOf(t, "multi-tag")
				theirs := tagsOf(t, dst.String())["v1"]
				var once atomic.Bool
				o := archive.UnpackOptions{OnEvent: func(e layout.Event) {
					if e.Kind != layout.EventDone || once.Swap(true) {
						return
					}
					root := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIIndex, Digest: theirs, Size: 6012}
					if err := dst.Tag(t.Context(), "latest", root, ""); err != nil {
						t.Error(err)
					}
				}}
				var moved *layout.TagMovedError
				if _, err := w.unpack(t, data, dst, o); !errors.As(err, &moved) {
					t.Errorf("got %v, want a *TagMovedError", err)
				}
				if now := tagsOf(t, dst.String())["latest"]; now != theirs {
					t.Errorf("latest is %s, want %s", now, theirs)
				}
				wantWhole(t, dst)
			})
		}
	}
}

// TestUnpackTagChoice unpacks one of two tags.
func TestUnpackTagChoice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "multi-tag")
	for _, kind := range []string{"ours", "from within"} {
		data := variants(t, path)[kind]
		for _, w := range ways() {
			t.Run(kind+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				dst := emptyDir(t)
				o := archive.UnpackOptions{Tag: "v2", Tags: func(tag string) bool { return tag == "v2" }}
				result, err := w.unpack(t, data, dst, o)
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]digest.Digest{"v2": tagsOf(t, path)["v2"]}
				wantTags(t, dst, want)
				wantWhole(t, dst)
				checkResult(t, result, want, "")
				if result.Unneeded.Blobs != 13 {
					t.Errorf("%d blobs are not needed, want 13", result.Unneeded.Blobs)
				}
				blobs, err := dst.Blobs(t.Context())
				if stray := kind != "ours" && w.name != "file"; err != nil || (len(blobs) == 12) == stray || stray != (len(result.Notes) > 0) {
					t.Errorf("%d blobs (%v), notes %q", len(blobs), err, result.Notes)
				}
				o = archive.UnpackOptions{Tag: "v3", Tags: func(tag string) bool { return tag == "v3" }}
				var none *layout.NotFoundError
				if _, err := w.unpack(t, data, emptyDir(t), o); !errors.As(err, &none) || none.Tag != "v3" || len(none.Tags) != 2 {
					t.Errorf("got %v, want a *NotFoundError", err)
				}
			})
		}
	}
}

// TestUnpackUntagged is about roots that have no tag, or the same.
func TestUnpackUntagged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "multi-tag")
	index, err := os.ReadFile(filepath.Join(path, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	tags := tagsOf(t, path)
	without := func(tag string) string {
		return strings.Replace(string(index), `"org.opencontainers.image.ref.name":"`+tag+`"`, "", 1)
	}
	for name, test := range map[string]struct {
		index string
		tag   string
		want  map[string]digest.Digest
		notes int
	}{
		"one":             {without("v1"), "", map[string]digest.Digest{"latest": tags["v1"], "v2": tags["v2"]}, 1},
		"one, to be v3":   {without("v1"), "v3", map[string]digest.Digest{"v3": tags["v1"], "v2": tags["v2"]}, 1},
		"one, but taken":  {without("v1"), "v2", map[string]digest.Digest{"v2": tags["v2"]}, 1},
		"the same":        {strings.Replace(string(index), `:"v1"`, `:"v2"`, 1), "", map[string]digest.Digest{"v2": tags["v1"]}, 1},
		"the same as one": {strings.Replace(string(index), `{"mediaType"`, strings.Split(strings.SplitN(string(index), "[", 2)[1], "},{")[0]+`},{"mediaType"`, 1), "", tags, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries := layoutEntries(t, path, "")
			for i := range entries {
				if entries[i].name == "index.json" {
					entries[i].data = []byte(test.index)
				}
			}
			dst := emptyDir(t)
			result, err := unpackFile(t, tarOf(t, entries), dst, archive.UnpackOptions{Tag: test.tag})
			if err != nil {
				t.Fatal(err)
			}
			wantTags(t, dst, test.want)
			wantWhole(t, dst)
			if len(result.Notes) != test.notes {
				t.Errorf("notes %q, want %d", result.Notes, test.notes)
			}
		})
	}
}

// TestUnpackKeepsKinds says that a cache does not take an image's tag, nor the other way round.
func TestUnpackKeepsKinds(t *testing.T) {
	t.Parallel()
	cache, image := filepath.Join(caches, "artifact-gzip"), filepath.Join(caches, "inline-image")
	for _, w := range ways() {
		for _, into := range []string{"artifact-gzip", "inline-image"} {
			from, tag := cache, "1"
			if into == "artifact-gzip" {
				from, tag = image, "latest"
			}
			entries := layoutEntries(t, from, "")
			for i := range entries {
				if entries[i].name == "index.json" {
					for _, old := range []string{`"1"`, `"latest"`} {
						entries[i].data = bytes.ReplaceAll(entries[i].data, []byte(`ref.name":`+old), []byte(`ref.name":"`+tag+`"`))
					}
				}
			}
			dst := dirOf(t, into)
			before := tagsOf(t, dst.String())
			var taken *layout.TakenError
			if _, err := w.unpack(t, tarOf(t, entries), dst, archive.UnpackOptions{}); !errors.As(err, &taken) || taken.Tag != tag {
				t.Errorf("%s into %s: got %v, want a *TakenError", w.name, into, err)
			}
			wantTags(t, dst, before)
			wantSound(t, dst)
		}
	}
}

// TestUnpackDryRun says what would be done, and does none of it.
func TestUnpackDryRun(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "multi-tag")
	other := originDir(t, "artifact-gzip")
	all := variants(t, path)
	for k, kind := range slices.Sorted(maps.Keys(all)) {
		data, ways := all[kind], ways()
		if kind != "ours" && kind != "from within" { // one stands for the others, which are in another order or below another name
			ways = append(ways[k%len(ways):], ways[:k%len(ways)]...)[:quicktest.Rounds(1, len(ways))]
		}
		for _, w := range ways {
			t.Run(kind+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				none := dryRun(t, w, data, nil)
				for _, dst := range []*layout.Dir{emptyDir(t), linkedDir(t, other)} {
					told := []*archive.UnpackResult{dryRun(t, w, data, dst)}
					done, err := w.unpack(t, data, dst, archive.UnpackOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if done.Present.Blobs == 0 {
						told = append(told, none)
					}
					for _, told := range told {
						if told.Written != done.Written || told.Present != done.Present || told.Unneeded != done.Unneeded ||
							!slices.Equal(told.Tags, done.Tags) || told.PassedOver != done.PassedOver || !told.DryRun || done.DryRun {
							t.Errorf("told %+v, done %+v", told, done)
						}
					}
				}
			})
		}
	}
	data, required := leftOut(t, path, isLayer)
	for _, w := range ways() {
		_, err := w.unpack(t, data, nil, archive.UnpackOptions{DryRun: true})
		wantMissing(t, err, nil, required, false)
	}
}

// dryRun says what unpacking would do, and sees that it does not.
func dryRun(t *testing.T, w way, data []byte, dst *layout.Dir) *archive.UnpackResult {
	t.Helper()
	var before map[string]string
	if dst != nil {
		before = snapshot(t, dst.String())
	}
	told, err := w.unpack(t, data, dst, archive.UnpackOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if dst != nil && !maps.Equal(snapshot(t, dst.String()), before) {
		t.Error("something was written")
	}
	return told
}

// TestUnpackLateManifests unpacks archives of ours that somebody has put into another order.
func TestUnpackLateManifests(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "multi-tag")
	entries := bundleEntries(t, path, nil)
	slices.Reverse(entries[3:])
	data := tarOf(t, entries)
	for _, w := range ways() {
		dst := emptyDir(t)
		if _, err := w.unpack(t, data, dst, archive.UnpackOptions{DryRun: true}); err != nil {
			t.Errorf("%s: dry run: %v", w.name, err)
		}
		result, err := w.unpack(t, data, dst, archive.UnpackOptions{})
		if err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		wantWhole(t, dst)
		wantTags(t, dst, tagsOf(t, path))
		if result.Written.Blobs != 25 || len(result.Notes) > 0 {
			t.Errorf("%s: %+v", w.name, result)
		}
		left, required := leftOut(t, path, isLayer)
		_ = left
		entries := bundleEntries(t, path, func(d digest.Digest) bool { _, ok := required[d]; return ok })
		slices.Reverse(entries[3:])
		_, err = w.unpack(t, tarOf(t, entries), emptyDir(t), archive.UnpackOptions{})
		wantMissing(t, err, nil, required, false)
	}
}

// TestUnpackNotThere is about what can't be opened.
func TestUnpackNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := archive.Open(t.Context(), []string{dir}, archive.OpenOptions{}); !errors.Is(err, archive.ErrNotArchive) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := archive.Open(t.Context(), []string{filepath.Join(dir, "none")}, archive.OpenOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := archive.Open(t.Context(), []string{"/dev/null"}, archive.OpenOptions{}); !errors.Is(err, archive.ErrStream) {
		t.Errorf("a device: %v", err)
	}
	for name, pack := range map[string]func(testing.TB, []byte) []byte{"gzip": gzipOf, "zstd": zstdOf} {
		if _, err := openArchive(t, pack(t, []byte("x"))); !errors.Is(err, archive.ErrStream) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sourceOnly hides what a Source can do beyond that.
type sourceOnly struct{ layout.Source }

// TestArchiveAsSource reads blobs from an archive that is not unpacked, as from any other place.
func TestArchiveAsSource(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "multi-tag")
	dir := openDir(t, path)
	data, required := leftOut(t, path, isLayer)
	file := filepath.Join(t.TempDir(), "the-archive")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, base := range map[string]layout.Source{"none": nil, "layout": dir, "no random access": sourceOnly{dir}} {
		a, err := archive.Open(t.Context(), []string{file}, archive.OpenOptions{Base: base})
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Entries(t.Context())
		want, wantErr := dir.Entries(t.Context())
		if err := errors.Join(err, wantErr); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("entries %v, want %v (%v)", got, want, err)
		}
		entry, err := layout.OneCache(t.Context(), a, "v2")
		if err != nil || entry.Descriptor.Digest != tagsOf(t, path)["v2"] {
			t.Errorf("v2 is %v (%v)", entry, err)
		}
		if found, err := layout.Find(t.Context(), a, "v3"); err != nil || found != nil {
			t.Errorf("v3 is %v (%v)", found, err)
		}
		blobs, err := layout.Graph(t.Context(), a, entry.Descriptor)
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range blobs {
			_, isRequired := required[blob.Digest]
			if has, err := a.Has(t.Context(), blob); err != nil || has == (isRequired && base == nil) {
				t.Errorf("has %s: %v (%v)", blob.Digest, has, err)
			}
			data, err := layout.ReadBlob(t.Context(), a, blob, 1<<30)
			if isRequired && base == nil {
				if !errors.Is(err, layout.ErrBlobMissing) || !strings.Contains(err.Error(), "required, but left out") {
					t.Errorf("required blob: %v", err)
				}
				if _, err := a.OpenAt(t.Context(), blob); !errors.Is(err, layout.ErrBlobMissing) {
					t.Errorf("required blob: %v", err)
				}
				continue
			}
			if err != nil {
				t.Error(err)
			}
			section, err := a.OpenAt(t.Context(), blob)
			if err != nil {
				t.Fatal(err)
			}
			tail := make([]byte, 10)
			if _, err := section.ReadAt(tail, section.Size()-10); err != nil || !bytes.HasSuffix(data, tail) || section.Size() != blob.Size {
				t.Errorf("%s, base %s: its end is %q (%v)", blob.Digest, name, tail, err)
			}
			if err := section.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}
