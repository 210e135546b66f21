package archive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// listed returns the blobs of a receipt.
func listed(r *archive.Receipt) map[digest.Digest]int64 {
	blobs := map[digest.Digest]int64{}
	for _, blob := range r.Blobs {
		blobs[blob.Digest] = blob.Size
	}
	return blobs
}

// TestReceipt says that a receipt has what the tags reach, those that were there before included, and nothing else.
func TestReceipt(t *testing.T) {
	t.Parallel()
	dst := dirOf(t, "stale-blobs")
	data := tarOf(t, bundleEntries(t, filepath.Join(caches, "multi-tag"), nil))
	result, err := unpackFile(t, data, dst, archive.UnpackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]*archive.UnpackResult{"of an unpack": result, "of a layout": nil} {
		receipt, notes, err := archive.NewReceipt(t.Context(), dst, of, 0)
		if err != nil || len(notes) > 0 {
			t.Fatalf("%s: %v, notes %q", name, err, notes)
		}
		reached, err := layout.Reach(t.Context(), dst)
		if err != nil {
			t.Fatal(err)
		}
		got := listed(receipt)
		for blob := range reached {
			if has, err := dst.Has(t.Context(), buildcache.Descriptor{Digest: blob, Size: got[blob]}); err != nil || !has {
				t.Errorf("%s: %s is listed with %d bytes (%v)", name, blob, got[blob], err)
			}
		}
		if len(got) != len(reached) || len(receipt.Blobs) != len(got) {
			t.Errorf("%s: %d blobs, want %d", name, len(receipt.Blobs), len(reached))
		}

		file := filepath.Join(t.TempDir(), "receipt.json")
		for range 2 { // the second one replaces the first
			if err := archive.WriteReceipt(t.Context(), file, receipt, layout.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		again, err := archive.ReadReceipt(file)
		if err != nil || !slices.Equal(again.Blobs, receipt.Blobs) {
			t.Errorf("%s: read %v (%v)", name, again, err)
		}
		if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
			t.Errorf("%s: beside it lies %v (%v)", name, left, err)
		}
	}
}

// TestReceiptOfDamage says that a receipt does not promise what is not there, or not right.
func TestReceiptOfDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "artifact-gzip")
	victims := []digest.Digest{pick(t, path, "root"), pick(t, path, "config")}
	for _, e := range bundleEntries(t, path, nil) {
		if _, err := os.Stat(filepath.Join(caches, "inline-image", e.name)); err != nil && strings.HasPrefix(e.name, "blobs/") {
			victims = append(victims, digest.FromBytes(e.data)) // the last one is a layer
		}
	}
	for _, victim := range []digest.Digest{victims[0], victims[1], victims[len(victims)-1]} {
		for name, damage := range map[string]func(file string) error{
			"missing": os.Remove,
			"altered": func(file string) error {
				data, err := os.ReadFile(file)
				data[0] ^= 1
				return errors.Join(err, os.Chmod(file, 0o600), os.WriteFile(file, data, 0o600))
			},
		} {
			dst := dirOf(t, "artifact-gzip")
			data := tarOf(t, bundleEntries(t, filepath.Join(caches, "inline-image"), nil))
			result, err := unpackFile(t, data, dst, archive.UnpackOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(filepath.Join(dst.String(), blobName(victim))); err != nil {
				t.Fatal(err)
			}
			receipt, notes, err := archive.NewReceipt(t.Context(), dst, result, 0)
			if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "latest") || len(receipt.Blobs) != 8 {
				t.Errorf("%s %s: %v, notes %q, %v", victim, name, receipt, notes, err)
			}
		}
	}
}

// TestReceiptInterrupted says that what could not be read is no damage.
func TestReceiptInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := archive.NewReceipt(ctx, dirOf(t, "artifact-gzip"), nil, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestReadReceiptRefuses changes receipts.
func TestReadReceiptRefuses(t *testing.T) {
	t.Parallel()
	a, b := digest.FromString("a"), digest.FromString("b")
	if a > b {
		a, b = b, a
	}
	good, err := (&archive.Receipt{Blobs: []archive.Blob{{Digest: a, Size: 1}, {Digest: b, Size: 2}}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	// signed makes a receipt whose id is right, whatever is in it.
	signed := func(blobs string) []byte {
		rest := `{"ocicacheReceipt":1,"blobs":` + blobs + `}`
		return []byte(strings.Replace(rest, `1,`, `1,"id":"`+digest.FromString(rest).String()+`",`, 1))
	}
	one := func(d digest.Digest, size string) string {
		return `{"digest":"` + d.String() + `","size":` + size + `}`
	}
	for name, raw := range map[string][]byte{
		"nothing":              nil,
		"no JSON":              []byte("receipt"),
		"another file":         []byte(`{"schemaVersion":2}`),
		"cut off":              good[:len(good)-5],
		"twice":                append(slices.Clone(good), good...),
		"another size":         bytes.Replace(good, []byte(`"size":2`), []byte(`"size":3`), 1),
		"another digest":       bytes.Replace(good, []byte(b), []byte(digest.FromString("zz")), 1),
		"another version":      bytes.Replace(good, []byte(`Receipt":1`), []byte(`Receipt":2`), 1),
		"no id":                []byte(`{"ocicacheReceipt":1,"blobs":[]}`),
		"negative size":        signed("[" + one(a, "-1") + "]"),
		"no digest":            signed("[" + one("../../evil", "1") + "]"),
		"the same blob twice":  signed("[" + one(a, "1") + "," + one(a, "1") + "]"),
		"in another order":     signed("[" + one(b, "1") + "," + one(a, "1") + "]"),
		"a blob left out":      bytes.Replace(good, []byte(","+one(b, "2")), nil, 1),
		"a size beyond an int": signed("[" + one(a, "99999999999999999999") + "]"),
	} {
		file := filepath.Join(t.TempDir(), "receipt.json")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := archive.ReadReceipt(file); !errors.Is(err, archive.ErrReceipt) {
			t.Errorf("%s: got %v (%v), want ErrReceipt", name, got, err)
		}
	}
	if _, err := archive.ParseReceipt(signed("[" + one(a, "1") + "]")); err != nil {
		t.Errorf("the right one: %v", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, good, "", "  "); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.ParseReceipt(indented.Bytes()); err != nil {
		t.Errorf("with spaces, which mean nothing: %v", err)
	}
	if _, err := archive.ReadReceipt(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestReceiptThatLies packs for a place that has lost something since it wrote its receipt.
func TestReceiptThatLies(t *testing.T) {
	t.Parallel()
	path := filepath.Join(caches, "artifact-gzip")
	dst := dirOf(t, "artifact-gzip")
	receipt, _, err := archive.NewReceipt(t.Context(), dst, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	held := listed(receipt)
	data := tarOf(t, bundleEntries(t, path, func(d digest.Digest) bool { _, ok := held[d]; return ok }))
	if _, err := unpackFile(t, data, dst, archive.UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	layer := pick(t, path, "layer")
	if err := os.Remove(filepath.Join(dst.String(), blobName(layer))); err != nil {
		t.Fatal(err)
	}
	for _, w := range ways() {
		var missing *archive.MissingError
		_, err := w.unpack(t, data, dst, archive.UnpackOptions{})
		if !errors.As(err, &missing) || len(missing.Blobs) != 1 || missing.Blobs[0].Digest != layer {
			t.Errorf("%s: got %v, want a *MissingError about %s", w.name, err, layer)
		}
	}
}
