package placetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// putTests are about storing blobs.
var putTests = []test{
	{"put", true, testPut},
	{"put what is there", true, testPutAgain},
	{"put other bytes", true, testPutWrong},
	{"put from a broken source", true, testPutBroken},
	{"put malformed digests", true, testPutMalformed},
	{"put many", true, testPutMany},
	{"put one at once", true, testPutSame},
	{"ingest", true, testIngest},
	{"ingest from a broken source", true, testIngestBroken},
}

// many is how many blobs are put at once: enough to collide, few enough for places that wait for a disk.
const many = 100

// opener supplies bytes, and counts how often it is opened and closed.
type opener struct {
	data []byte
	fail error // returned after the bytes, nil for none

	mu             sync.Mutex
	opened, closed int
}

func (o *opener) open() (io.ReadCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opened++
	readers := []io.Reader{bytes.NewReader(o.data)}
	if o.fail != nil {
		readers = append(readers, failingReader{o.fail})
	}
	return &opened{io.MultiReader(readers...), o}, nil
}

type opened struct {
	io.Reader
	o *opener
}

func (r *opened) Close() error {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	r.o.closed++
	return nil
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// wantClosed wants everything that was opened to be closed.
func (o *opener) wantClosed(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed != o.opened {
		t.Errorf("opened %d times, closed %d times", o.opened, o.closed)
	}
}

// wantNotStored wants a place to have no blob with these bytes, and none with the digest that was claimed.
func wantNotStored(t *testing.T, place layout.Source, said buildcache.Descriptor, data []byte) {
	t.Helper()
	real := NewBlob(said.MediaType, data).Descriptor
	under := said
	under.Size = real.Size
	for _, d := range []buildcache.Descriptor{said, under, real} {
		if has, err := place.Has(t.Context(), d); err != nil || has {
			t.Errorf("%s with %d bytes: it is there: %v (%v)", d.Digest, d.Size, has, err)
		}
	}
}

func testPut(t *testing.T, s Subject) {
	place := s.New(t)
	large := bytes.Repeat([]byte("several megabytes "), 3<<20/18)
	image := Image("app")
	blobs := []Blob{
		NewBlob(buildcache.MediaTypeConfig, []byte("some bytes")),
		NewBlob(buildcache.MediaTypeConfig, nil),
		NewBlob(buildcache.LayerMediaType(buildcache.Artifact, buildcache.Gzip), large),
	}
	for _, blob := range append(blobs, image...) {
		content := &opener{data: blob.Data}
		if err := place.Put(t.Context(), blob.Descriptor, content.open); err != nil {
			t.Fatal(err)
		}
		if content.opened == 0 {
			t.Errorf("%s was not opened", blob.Digest)
		}
		content.wantClosed(t)
		if has, err := place.Has(t.Context(), blob.Descriptor); err != nil || !has {
			t.Errorf("%s: %v (%v)", blob.Digest, has, err)
		}
		wantBlob(t, place, blob)
	}
	if entries := entriesOf(t.Context(), t, place); len(entries) > 0 {
		t.Errorf("there are entries that nobody made: %v", entries)
	}
}

// testPutAgain puts what is there already, also through another handle. A manifest may be read all the same: it is small, and checking
// for it may cost as much as sending it.
func testPutAgain(t *testing.T, s Subject) {
	place := s.New(t)
	image := Image("app")
	if err := image.Put(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	for _, place := range []layout.Place{place, s.writer(t, place)} {
		for _, blob := range image {
			open := layout.OpenBytes(blob.Data)
			if !buildcache.IsManifestType(blob.MediaType) {
				open = func() (io.ReadCloser, error) { return nil, errors.New("opened in vain") }
			}
			err := place.Put(t.Context(), blob.Descriptor, open)
			if err != nil {
				t.Errorf("%s: %v", blob.MediaType, err)
			}
			wantBlob(t, place, blob)
		}
	}
}

func testPutWrong(t *testing.T, s Subject) {
	place := s.New(t)
	image := Image("app")
	if err := image[:len(image)-1].Put(t.Context(), place); err != nil { // what the root names must be there first
		t.Fatal(err)
	}
	for _, right := range []Blob{
		NewBlob(buildcache.MediaTypeConfig, []byte("the right bytes")), image[len(image)-1],
	} {
		altered := bytes.ReplaceAll(bytes.ReplaceAll(right.Data, []byte("the right"), []byte("the wrong")), []byte("sha256:"), []byte("sha512:"))
		less, more := right.Descriptor, right.Descriptor
		less.Size--
		more.Size++
		for what, wrong := range map[string]Blob{
			"altered":              {right.Descriptor, altered},
			"cut":                  {right.Descriptor, right.Data[:right.Size-1]},
			"longer":               {right.Descriptor, append(slices.Clone(right.Data), ' ')},
			"none":                 {right.Descriptor, nil},
			"descriptor says less": {less, right.Data},
			"descriptor says more": {more, right.Data},
		} {
			content := &opener{data: wrong.Data}
			err := place.Put(t.Context(), wrong.Descriptor, content.open)
			var blob *layout.BlobError
			if !errors.As(err, &blob) || blob.Place != "" || blob.Digest != right.Digest ||
				!errors.Is(err, layout.ErrBlobDamaged) && !errors.Is(err, layout.ErrBlobSize) {
				t.Errorf("%s %s: %v, want a *BlobError without a place for damage or size", right.MediaType, what, err)
			}
			content.wantClosed(t)
			wantNotStored(t, place, wrong.Descriptor, wrong.Data)
		}
	}
}

func testPutBroken(t *testing.T, s Subject) {
	place := s.New(t)
	for _, right := range []Blob{
		NewBlob(buildcache.MediaTypeConfig, bytes.Repeat([]byte("the right bytes"), 1000)),
		NewBlob(buildcache.MediaTypeOCIManifest, []byte(`{"schemaVersion":2,"mediaType":"`+buildcache.MediaTypeOCIManifest+`"}`)),
	} {
		err := place.Put(t.Context(), right.Descriptor, func() (io.ReadCloser, error) { return nil, errBroken })
		if !errors.Is(err, errBroken) {
			t.Errorf("%s, open fails: %v", right.MediaType, err)
		}
		content := &opener{data: right.Data[:right.Size/2], fail: errBroken}
		if err := place.Put(t.Context(), right.Descriptor, content.open); !errors.Is(err, errBroken) {
			t.Errorf("%s, read fails: %v", right.MediaType, err)
		}
		content.wantClosed(t)
		wantNotStored(t, place, right.Descriptor, right.Data)
		wantNotStored(t, place, right.Descriptor, content.data)
	}
}

func testPutMalformed(t *testing.T, s Subject) {
	place := s.New(t)
	for _, bad := range malformed {
		for _, d := range missing() {
			d.Digest = bad
			content := &opener{data: []byte("bytes")}
			var blob *layout.BlobError
			if err := place.Put(t.Context(), d, content.open); !errors.As(err, &blob) || content.opened > 0 {
				t.Errorf("%s %q: %v after %d openings, want a *BlobError", d.MediaType, bad, err, content.opened)
			}
		}
	}
}

// testPutMany puts many small blobs at once.
func testPutMany(t *testing.T, s Subject) {
	place := s.New(t)
	other := s.writer(t, place)
	blobs := make([]Blob, many)
	var group sync.WaitGroup
	for i := range blobs {
		blobs[i] = NewBlob(buildcache.MediaTypeConfig, fmt.Appendf(nil, "blob %d", i))
		group.Go(func() {
			if err := place.Put(t.Context(), blobs[i].Descriptor, layout.OpenBytes(blobs[i].Data)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, blob := range blobs {
		if has, err := other.Has(t.Context(), blob.Descriptor); err != nil || !has {
			t.Errorf("%s: %v (%v)", blob.Data, has, err)
		}
		wantBlob(t, other, blob)
	}
}

// testPutSame puts one blob through two handles at once.
func testPutSame(t *testing.T, s Subject) {
	place := s.New(t)
	places := []layout.Place{place, s.writer(t, place)}
	blob := NewBlob(buildcache.MediaTypeConfig, bytes.Repeat([]byte("the right bytes"), 10_000))
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if err := places[i%2].Put(t.Context(), blob.Descriptor, layout.OpenBytes(blob.Data)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	wantBlob(t, place, blob)
}

func testIngest(t *testing.T, s Subject) {
	place := s.New(t)
	for _, text := range []string{"some bytes", "", strings.Repeat("several megabytes ", 3<<20/18), "some bytes"} {
		got, err := place.Ingest(t.Context(), func(w io.Writer) error {
			for part := range slices.Chunk([]byte(text), 70_000) {
				if _, err := w.Write(part); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || got.Digest != digest.FromString(text) || got.Size != int64(len(text)) {
			t.Errorf("%d bytes: %v (%v)", len(text), got, err)
			continue
		}
		want := NewBlob(buildcache.MediaTypeConfig, []byte(text))
		if has, err := place.Has(t.Context(), want.Descriptor); err != nil || !has {
			t.Errorf("%d bytes: %v (%v)", len(text), has, err)
		}
		wantBlob(t, place, want)
	}
}

func testIngestBroken(t *testing.T, s Subject) {
	place := s.New(t)
	for _, text := range []string{"half of", ""} {
		_, err := place.Ingest(t.Context(), func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, errBroken)
		})
		if !errors.Is(err, errBroken) {
			t.Errorf("after %q: %v", text, err)
		}
		half := NewBlob(buildcache.MediaTypeConfig, []byte(text))
		wantNotStored(t, place, half.Descriptor, half.Data)
	}
}
