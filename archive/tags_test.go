package archive_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// A root with very many tags is read, written and proved as often as one with one tag, and its tags move in one step.
func TestManyTags(t *testing.T) {
	t.Parallel()
	tags := quicktest.Rounds(1000, 5000)
	src := dirOf(t, "artifact-gzip")
	entries, err := src.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []layout.Tagging
	for i := range tags {
		all = append(all, layout.Tagging{Tag: fmt.Sprint("tag-", i), Root: entries[0].Descriptor})
	}
	if err := src.TagAll(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	counted := layouttest.Count(src)
	survey, err := layout.Survey(t.Context(), counted)
	if err != nil {
		t.Fatal(err)
	}
	var roots []archive.Chosen
	for _, entry := range survey {
		roots = append(roots, archive.Chosen{Source: counted, Entry: entry})
	}
	file, result := packFile(t, roots, archive.PackOptions{Have: []archive.Holder{archive.HeldBy(counted, survey...)}})
	if len(result.Tags) != tags+1 {
		t.Errorf("%d tags are packed", len(result.Tags))
	}
	for blob, n := range counted.Opens {
		if n > 10 {
			t.Errorf("%s was opened %d times", blob, n)
		}
	}
	far, written := emptyDir(t), 0
	ctx := durable.WithFault(t.Context(), func(op durable.Op, path string) error {
		if op == durable.OpRename && strings.HasSuffix(path, "index.json") {
			written++
		}
		return nil
	})
	unpacked, err := archive.Unpack(ctx, openPacked(t, file), far, archive.UnpackOptions{Base: src})
	if err != nil {
		t.Fatal(err)
	}
	if written != 1 {
		t.Errorf("index.json was written %d times", written)
	}
	receipt, notes, err := archive.NewReceipt(t.Context(), far, unpacked, 0)
	if err != nil || len(notes) > 0 || len(receipt.Blobs) != result.Required.Blobs {
		t.Errorf("%d blobs in the receipt (%v), %q", len(receipt.Blobs), err, notes)
	}
	damageBlob(t, far, entries[0].Descriptor.Digest, func(data []byte) []byte { return append(data, ' ') })
	if receipt, notes, err := archive.NewReceipt(t.Context(), far, nil, 0); err != nil || len(notes) != tags+1 || len(receipt.Blobs) > 0 {
		t.Errorf("%d blobs in the receipt of what is damaged (%v), %d notes", len(receipt.Blobs), err, len(notes))
	}
}

// What is missing is listed with the first of many tags.
func TestManyTagsMissing(t *testing.T) {
	t.Parallel()
	src := dirOf(t, "artifact-gzip")
	entries, err := src.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range strings.Fields("a b c d e f g h i j k l") {
		if err := src.Tag(t.Context(), tag, entries[0].Descriptor, ""); err != nil {
			t.Fatal(err)
		}
	}
	file, _ := packFile(t, chosen(t, src, false), archive.PackOptions{Have: []archive.Holder{archive.HeldBy(src)}})
	_, err = archive.Unpack(t.Context(), openPacked(t, file), nil, archive.UnpackOptions{DryRun: true})
	if err == nil || !strings.Contains(err.Error(), "for a, b, c, d, e, f, g, h, i, j and 3 more\n") {
		t.Errorf("got %v", err)
	}
}
