package archive

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

func planned(tag string, blobs ...buildcache.Descriptor) rooted {
	root := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("root of " + tag), Size: 7}
	return rooted{
		Chosen: Chosen{Source: layout.NewMemory("memory"), Entry: layout.Entry{Tag: tag, Descriptor: root, Kind: layout.KindCache}},
		blobs:  append([]buildcache.Descriptor{root}, blobs...),
	}
}

func layerOf(d digest.Digest, size int64) buildcache.Descriptor {
	return buildcache.Descriptor{MediaType: buildcache.LayerMediaType(buildcache.Artifact, buildcache.Gzip), Digest: d, Size: size}
}

// sparseTar writes the headers of a plan where they belong, and nothing between them.
func sparseTar(t *testing.T, plan *packPlan) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "a.tar"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	for _, entry := range plan.entries {
		head, err := tarHeader(entry.name, entry.size)
		if err == nil {
			_, err = file.WriteAt(head, entry.offset)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Truncate(plan.total); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPlanLarge lays out what USTAR has no room for: more than 8 GiB, and long names.
func TestPlanLarge(t *testing.T) {
	t.Parallel()
	blobs := []buildcache.Descriptor{
		layerOf(digest.FromString("small"), 1), layerOf(digest.FromString("exact"), tarBlock), layerOf(digest.FromString("empty"), 0),
		layerOf(digest.FromString("most of USTAR"), 1<<33-1), layerOf(digest.FromString("large"), 1<<33),
		layerOf(digest.SHA512.FromString("long name"), 513),
	}
	plan, err := newPackPlan([]rooted{planned("a", blobs...)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	reader := tar.NewReader(sparseTar(t, plan))
	for _, entry := range plan.entries {
		header, err := reader.Next()
		if err != nil {
			t.Fatalf("%s: %v", entry.name, err)
		}
		if header.Name != entry.name || header.Size != entry.size || header.Mode != entryMode {
			t.Errorf("got %+v, want %+v", header, entry)
		}
		if isPAX := header.Format == tar.FormatPAX; isPAX != (entry.size >= 1<<33 || len(entry.name) > 100) {
			t.Errorf("%s of %d bytes: format %v", entry.name, entry.size, header.Format)
		}
	}
	if _, err := reader.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last entry: %v", err)
	}
}

// TestPlanSizes refuses a blob that has two sizes, leaves out what is held with its size, and nothing else.
func TestPlanSizes(t *testing.T) {
	t.Parallel()
	a, b := layerOf(digest.FromString("a"), 10), layerOf(digest.FromString("b"), 20)
	other := a
	other.Size = 11
	if _, err := newPackPlan([]rooted{planned("1", a), planned("2", other)}, nil); !errors.Is(err, layout.ErrBlobSize) {
		t.Errorf("got %v", err)
	}
	plan, err := newPackPlan([]rooted{planned("1", a, b)}, map[digest.Digest]int64{a.Digest: 11, b.Digest: 20})
	if err != nil {
		t.Fatal(err)
	}
	d := plan.description
	if len(d.Requires) != 1 || d.Requires[0].Digest != b.Digest || len(d.Blobs) != 2 || d.Blobs[1].Digest != a.Digest {
		t.Errorf("got %+v", d)
	}
	bad := layerOf("sha256:../../etc/passwd", 1)
	if _, err := newPackPlan([]rooted{planned("1", bad)}, nil); err == nil {
		t.Error("a digest that is none became a path")
	}
}

// TestPlanEntries refuses more entries than are read again, counting what is packed and nothing else.
func TestPlanEntries(t *testing.T) {
	t.Parallel()
	const limit = 20
	var blobs []buildcache.Descriptor
	for i := range limit {
		blobs = append(blobs, layerOf(digest.FromString(strconv.Itoa(i)), 1))
	}
	held := map[digest.Digest]int64{blobs[0].Digest: 1, blobs[1].Digest: 2} // one of them with another size
	fits := limit - 4                                                       // oci-layout, index.json, ocicache.json, the root
	for _, test := range []struct {
		name  string
		roots []rooted
		held  map[digest.Digest]int64
		over  int64
	}{
		{"all that fit", []rooted{planned("a", blobs[:fits]...)}, nil, 0},
		{"one more", []rooted{planned("a", blobs[:fits+1]...)}, nil, 1},
		{"one more, and one is held", []rooted{planned("a", blobs[:fits+1]...)}, held, 0},
		{"two more, and one is held", []rooted{planned("a", blobs[:fits+2]...)}, held, 1},
		{"of two roots", []rooted{planned("a", blobs[:fits-1]...), planned("b", blobs[:fits-1]...)}, nil, 0},
		{"two roots have more", []rooted{planned("a", blobs[:fits-1]...), planned("b", blobs[1:fits]...)}, nil, 1},
	} {
		plan, err := planWithin(limit, test.roots, test.held)
		var size *buildcache.SizeError
		switch {
		case test.over == 0:
			if err != nil || len(plan.entries) > limit {
				t.Errorf("%s: %v", test.name, err)
			}
		case !errors.As(err, &size) || size.Limit != limit || size.Size != limit+test.over:
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

// TestWorkOwner refuses a directory that somebody else has put where the archive is made.
func TestWorkOwner(t *testing.T) {
	t.Parallel()
	const somebody = 12345
	dir := t.TempDir()
	work := filepath.Join(dir, ".a.tar.ocicache")
	if err := os.Mkdir(work, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(work, somebody, somebody); err != nil {
		t.Skipf("NOT TESTED: only root can give files away: %v", err)
	}
	if _, err := openFileWork(t.Context(), filepath.Join(dir, "a.tar"), PackOptions{}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
	// In somebody's own directory root works as they would.
	if err := os.Chown(dir, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	w, err := openFileWork(t.Context(), filepath.Join(dir, "a.tar"), PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
	link := filepath.Join(dir, ".b.tar.ocicache")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := openFileWork(t.Context(), filepath.Join(dir, "b.tar"), PackOptions{}); err == nil {
		t.Error("a link was followed")
	}
}
