package inspect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
)

var update = flag.Bool("update", false, "write the golden files anew")

// corpusSummaries summarizes every cache of the corpus, by the name of its layout and its tag.
func corpusSummaries(t *testing.T) map[string]*inspect.Summary {
	t.Helper()
	names, err := os.ReadDir(corpus)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*inspect.Summary{}
	for _, name := range names {
		dir := openCorpus(t, name.Name())
		found, err := layout.Survey(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if f.Kind != layout.KindCache {
				continue
			}
			s, err := inspect.Summarize(t.Context(), dir, f)
			if err != nil {
				t.Fatalf("%s: %v", name.Name(), err)
			}
			all[name.Name()+"."+f.Tag] = s
		}
	}
	return all
}

func TestSummarizeCorpus(t *testing.T) {
	t.Parallel()
	all := corpusSummaries(t)
	for name, s := range all {
		got, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		path := filepath.Join("testdata", "summary", name+".json")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not %s; go test ./inspect -update writes it anew\n%s", name, path, got)
		}
	}
	golden, err := filepath.Glob("testdata/summary/*.json")
	if err != nil || len(golden) != len(all) {
		t.Errorf("%d golden files for %d caches, %v", len(golden), len(all), err)
	}
}

// TestSummarizeFacts holds the summaries, and with them the golden files, against what is known of the caches otherwise.
func TestSummarizeFacts(t *testing.T) {
	t.Parallel()
	all := corpusSummaries(t)
	tests := []struct {
		name                               string
		form                               buildcache.Form
		layers, duplicates, records, limit int
		compressions                       []buildcache.Compression
	}{
		{"docker-list-gzip.latest", buildcache.DockerList, 16, 2, 23, 0, []buildcache.Compression{buildcache.Gzip}},
		{"oci-index-gzip.latest", buildcache.OCIIndex, 16, 2, 23, 0, []buildcache.Compression{buildcache.Gzip}},
		{"artifact-gzip.latest", buildcache.Artifact, 16, 2, 23, 1, []buildcache.Compression{buildcache.Gzip}},
		{"docker-list-zstd.latest", buildcache.DockerList, 16, 2, 23, 1, []buildcache.Compression{buildcache.Zstd}},
		{"oci-index-zstd.latest", buildcache.OCIIndex, 16, 2, 23, 1, []buildcache.Compression{buildcache.Zstd}},
		{"artifact-zstd.latest", buildcache.Artifact, 16, 2, 23, 2, []buildcache.Compression{buildcache.Zstd}},
		{"artifact-uncompressed.latest", buildcache.Artifact, 16, 2, 23, 1, []buildcache.Compression{buildcache.Uncompressed}},
		{"artifact-estargz.latest", buildcache.Artifact, 16, 2, 23, 1, []buildcache.Compression{buildcache.Estargz}},
		{"artifact-mixed-gzip-zstd.latest", buildcache.Artifact, 16, 2, 23, 2, []buildcache.Compression{buildcache.Gzip, buildcache.Zstd}},
		{"many-docker-list-gzip.latest", buildcache.DockerList, 254, 0, 291, 0, []buildcache.Compression{buildcache.Gzip}},
		{"gzip-with-estargz-leak.latest", buildcache.Artifact, 17, 1, 27, 1, []buildcache.Compression{buildcache.Estargz, buildcache.Gzip}},
		{"v0.11.6-docker-list.latest", buildcache.DockerList, 16, 2, 23, 0, []buildcache.Compression{buildcache.Gzip}},
		{"multi-tag.v1", buildcache.OCIIndex, 18, 2, 0, 0, []buildcache.Compression{buildcache.Gzip, buildcache.Uncompressed}},
		{"multi-tag.v2", buildcache.Artifact, 0, 0, 0, 1, []buildcache.Compression{buildcache.Gzip}},
	}
	for _, tt := range tests {
		s := all[tt.name]
		if s == nil {
			t.Errorf("%s is missing", tt.name)
			continue
		}
		if s.Form != tt.form || s.MediaType != tt.form.MediaType() || len(s.Limits) != tt.limit || s.OverLimit {
			t.Errorf("%s: %s, %s, %q, over limit: %v", tt.name, s.Form, s.MediaType, s.Limits, s.OverLimit)
		}
		if tt.layers > 0 && (s.Totals.Layers != tt.layers || s.Totals.Duplicates != tt.duplicates || tt.records > 0 && s.Records != tt.records) {
			t.Errorf("%s: %+v, %d records", tt.name, s.Totals, s.Records)
		}
		if got := sortedKeys(s.Totals.ByCompression); !slices.Equal(got, tt.compressions) {
			t.Errorf("%s: compressions %v, want %v", tt.name, got, tt.compressions)
		}
	}
	for name, s := range all {
		checkSums(t, name, s)
	}
	leak := all["gzip-with-estargz-leak.latest"]
	if n := countLayers(leak, func(l inspect.Layer) bool { return l.Compression == buildcache.Estargz }); n != 7 {
		t.Errorf("%d estargz layers among the gzip ones, want 7", n)
	}
	// The same build in another compression is the same but for the blobs.
	gzip, zstd := all["artifact-gzip.latest"], all["artifact-zstd.latest"]
	if gzip.Records != zstd.Records || gzip.Results != zstd.Results || !gzip.Oldest.Equal(*zstd.Oldest) || !gzip.Newest.Equal(*zstd.Newest) {
		t.Errorf("gzip: %d records, %d results, %v to %v; zstd: %d, %d, %v to %v", gzip.Records, gzip.Results, gzip.Oldest, gzip.Newest,
			zstd.Records, zstd.Results, zstd.Oldest, zstd.Newest)
	}
}

func sortedKeys(m map[buildcache.Compression]int64) []buildcache.Compression {
	var keys []buildcache.Compression
	for c := range m {
		keys = append(keys, c)
	}
	slices.Sort(keys)
	return keys
}

func countLayers(s *inspect.Summary, is func(inspect.Layer) bool) int {
	n := 0
	for _, layer := range s.Layers {
		if is(layer) {
			n++
		}
	}
	return n
}

// checkSums wants the totals of a whole cache to be the sums of its layers.
func checkSums(t *testing.T, name string, s *inspect.Summary) {
	t.Helper()
	sizes, results, byCompression := map[digest.Digest]int64{}, 0, int64(0)
	for i, layer := range s.Layers {
		sizes[layer.Digest] = layer.Size
		results += layer.Results
		if layer.Index != i || layer.Missing || layer.Unlisted || layer.DiffID == "" || layer.Compression == "" || layer.Parent >= len(s.Layers) {
			t.Errorf("%s: %+v", name, layer)
		}
	}
	bytes := int64(0)
	for _, size := range sizes {
		bytes += size
	}
	for _, size := range s.Totals.ByCompression {
		byCompression += size
	}
	if s.Totals.Layers != len(s.Layers) || s.Totals.Blobs != len(sizes) || s.Totals.Bytes != bytes || byCompression != bytes || s.Totals.Missing != 0 {
		t.Errorf("%s: %+v", name, s.Totals)
	}
	if s.Results != results || s.Results == 0 || s.Oldest == nil || s.Newest.Before(*s.Oldest) || s.Newest.Location() != time.UTC {
		t.Errorf("%s: %d results, on layers %d, from %v to %v", name, s.Results, results, s.Oldest, s.Newest)
	}
}

// TestSummarizeDamaged has what is missing or more than there should be.
func TestSummarizeDamaged(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "artifact-gzip")
	gone, spare := p.layer(), p.spare()
	p.remove(gone.Digest)
	p.editConfig(func(config *buildcache.Config) {
		layer := len(config.Layers)
		config.Layers = append(config.Layers, buildcache.Layer{Blob: digest.FromString("unlisted"), Parent: 3})
		config.Records = append(config.Records, buildcache.Record{
			Results: []buildcache.Result{{Layer: layer}, {Layer: 99}},
			Chains:  []buildcache.Chain{{Layers: []int{0, layer}}, {}},
		})
	})
	p.editLayer(spare.Digest, func(d *buildcache.Descriptor) { d.Annotations[buildcache.AnnotationCreatedAt] = "yesterday" })
	p.editRoot(func(root *buildcache.Root) { root.Layers = append(root.Layers, root.Layers[len(root.Layers)-1]) }) // twice
	p.rewriteConfig(func(raw []byte) []byte {                                                                      // the first result is older, and made elsewhere
		at := bytes.Index(raw, []byte(`"createdAt":"`)) + len(`"createdAt":"`)
		return slices.Concat(raw[:at], []byte("2020-01-02T03:04:05+02:00"), raw[at+bytes.IndexByte(raw[at:], '"'):])
	})
	oldest := time.Date(2020, 1, 2, 1, 4, 5, 0, time.UTC)
	before := corpusSummaries(t)["artifact-gzip.latest"]
	s, err := inspect.Summarize(t.Context(), p.open(), layout.Entry{Tag: "latest", Descriptor: buildcache.Descriptor{Digest: p.rootDigest(), Size: int64(len(p.read(p.rootDigest())))}})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Layers) != 18 || s.Results != before.Results+4 || *s.Oldest != oldest || !s.Newest.Equal(*before.Newest) {
		t.Fatalf("%d layers, %d results, oldest %v", len(s.Layers), s.Results, s.Oldest)
	}
	want := inspect.Layer{Index: 16, Parent: 3, Digest: digest.FromString("unlisted"), Results: 2, Missing: true, Unlisted: true}
	if got := s.Layers[16]; got != want {
		t.Errorf("unlisted: got  %+v\nwant %+v", got, want)
	}
	want = inspect.Layer{
		Index: -1, Parent: buildcache.NoParent, Digest: spare.Digest, MediaType: spare.MediaType, Compression: buildcache.Uncompressed,
		Size: spare.Size, DiffID: spare.DiffID(),
	}
	if got := s.Layers[17]; got != want {
		t.Errorf("only in the root: got  %+v\nwant %+v", got, want)
	}
	if n := countLayers(s, func(l inspect.Layer) bool { return l.Digest == gone.Digest && l.Missing && l.Compression == "" }); n != 1 {
		t.Errorf("%d layers are gone, want 1", n)
	}
	wantTotals := inspect.Totals{
		Layers: 18, Blobs: before.Totals.Blobs + 2, Duplicates: 2, Bytes: before.Totals.Bytes + spare.Size, Missing: 2,
		ByCompression: map[buildcache.Compression]int64{
			buildcache.Gzip: before.Totals.Bytes - gone.Size, buildcache.Uncompressed: spare.Size,
		},
	}
	if !reflect.DeepEqual(s.Totals, wantTotals) {
		t.Errorf("got  %+v\nwant %+v", s.Totals, wantTotals)
	}
}

func TestSummarizeOverLimit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		grow func(p *patient)
		want bool
	}{
		"root at the limit":      {func(p *patient) { p.rewriteRoot(pad(buildcache.MaxImport)) }, false},
		"root above the limit":   {func(p *patient) { p.rewriteRoot(pad(buildcache.MaxImport + 1)) }, true},
		"config at the limit":    {func(p *patient) { p.rewriteConfig(pad(buildcache.MaxImport)) }, false},
		"config above the limit": {func(p *patient) { p.rewriteConfig(pad(buildcache.MaxImport + 1)) }, true},
	} {
		p := newPatient(t, "multi-platform")
		tt.grow(p)
		entries, err := p.open().Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := inspect.Summarize(t.Context(), p.open(), entries[0])
		if err != nil || s.OverLimit != tt.want {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestSummarizeRefuses(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(p *patient){
		"root missing":   func(p *patient) { p.remove(p.rootDigest()) },
		"root altered":   func(p *patient) { p.overwrite(p.rootDigest(), append(p.read(p.rootDigest()), ' ')) },
		"config missing": func(p *patient) { p.remove(p.root().Config.Digest) },
		"config altered": func(p *patient) { p.overwrite(p.root().Config.Digest, []byte("{}")) },
		"config invalid": func(p *patient) { p.rewriteConfig(func([]byte) []byte { return []byte("[]") }) },
	} {
		p := newPatient(t, "artifact-gzip")
		damage(p)
		entries, err := p.open().Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s, err := inspect.Summarize(t.Context(), p.open(), entries[0]); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// memory is a place that can do no more than a Source must.
type memory map[digest.Digest][]byte

func (memory) String() string { return "memory" }

func (m memory) Has(_ context.Context, d buildcache.Descriptor) (bool, error) {
	raw, ok := m[d.Digest]
	return ok && int64(len(raw)) == d.Size, nil
}

func (memory) Entries(context.Context) ([]layout.Entry, error) { return nil, nil }

func (m memory) Open(_ context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	raw, ok := m[blob.Digest]
	if !ok {
		return nil, &layout.BlobError{Digest: blob.Digest, Place: "memory", Err: layout.ErrBlobMissing}
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

// inMemory copies a layout.
func inMemory(t *testing.T, name string) (memory, layout.Entry) {
	t.Helper()
	dir := openCorpus(t, name)
	blobs, err := dir.Blobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	place := memory{}
	for _, blob := range blobs {
		raw, err := layout.ReadBlob(t.Context(), dir, blob, blob.Size)
		if err != nil {
			t.Fatal(err)
		}
		place[blob.Digest] = raw
	}
	entries, err := dir.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return place, entries[0]
}

// TestWithoutRandomAccess has a place whose blobs can only be read from the start, where estargz can't be told from gzip.
func TestWithoutRandomAccess(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"artifact-estargz", "docker-list-zstd"} {
		place, entry := inMemory(t, name)
		got, err := inspect.Summarize(t.Context(), place, entry)
		if err != nil {
			t.Fatal(err)
		}
		want := corpusSummaries(t)[name+".latest"]
		for i := range want.Layers {
			if want.Layers[i].Compression == buildcache.Estargz {
				want.Layers[i].Compression = buildcache.Gzip
			}
		}
		if bytes, ok := want.Totals.ByCompression[buildcache.Estargz]; ok {
			want.Totals.ByCompression = map[buildcache.Compression]int64{buildcache.Gzip: bytes}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got  %+v\nwant %+v", name, got, want)
		}
		if problems, err := inspect.Verify(t.Context(), place, entry, inspect.Options{Deep: true}); err != nil || len(problems) > 0 {
			t.Errorf("%s: %+v, %v", name, problems, err)
		}
		layer := want.Layers[0].Digest
		place[layer] = flip(place[layer], 30)
		problems, err := inspect.Verify(t.Context(), place, entry, inspect.Options{})
		if err != nil || len(problems) != 1 || problems[0].Kind != buildcache.BlobDamaged || problems[0].Digest != layer {
			t.Errorf("%s, altered: %+v, %v", name, problems, err)
		}
	}
}

// manyLayers makes a cache of n tiny layers, each on the one before.
func manyLayers(tb testing.TB, n int) (memory, layout.Entry) {
	tb.Helper()
	place := memory{}
	add := func(raw []byte) digest.Digest {
		blob := digest.FromBytes(raw)
		place[blob] = raw
		return blob
	}
	root, config := &buildcache.Root{Form: buildcache.DockerList}, &buildcache.Config{}
	for i := range n {
		blob := add(fmt.Appendf(nil, "layer %d", i))
		root.Layers = append(root.Layers, buildcache.Descriptor{
			MediaType: buildcache.LayerMediaType(buildcache.DockerList, buildcache.Uncompressed), Digest: blob, Size: int64(len(place[blob])),
			Annotations: map[string]string{buildcache.AnnotationDiffID: blob.String()},
		})
		config.Layers = append(config.Layers, buildcache.Layer{Blob: blob, Parent: i - 1})
		record := buildcache.Record{Digest: blob, Results: []buildcache.Result{{Layer: i}}}
		if i > 0 {
			record.Inputs = [][]buildcache.Input{{{Link: i - 1}}}
		}
		config.Records = append(config.Records, record)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	add(raw)
	root.Config.MediaType = buildcache.MediaTypeConfig
	root.SetConfig(raw)
	if raw, err = json.Marshal(root); err != nil {
		tb.Fatal(err)
	}
	return place, layout.Entry{Tag: "latest", Descriptor: buildcache.Descriptor{Digest: add(raw), Size: int64(len(raw))}}
}

func TestTenThousandLayers(t *testing.T) {
	t.Parallel()
	place, entry := manyLayers(t, 10000)
	s, err := inspect.Summarize(t.Context(), place, entry)
	if err != nil {
		t.Fatal(err)
	}
	if !s.OverLimit || s.Totals.Layers != 10000 || s.Totals.Blobs != 10000 || s.Results != 10000 {
		t.Errorf("over limit: %v, %+v", s.OverLimit, s.Totals)
	}
	problems, err := inspect.Verify(t.Context(), place, entry, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []buildcache.Kind
	for _, p := range problems {
		kinds = append(kinds, p.Kind)
	}
	if !slices.Equal(kinds, []buildcache.Kind{buildcache.RootTooLarge, buildcache.ConfigTooLarge}) {
		t.Errorf("got %v", kinds)
	}
}

func TestSummarizeIsInterrupted(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	dir := openCorpus(t, "artifact-gzip")
	entries, err := dir.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s, err := inspect.Summarize(ctx, dir, entries[0]); !errors.Is(err, stop) {
		t.Errorf("got %+v, %v", s, err)
	}
}

func BenchmarkSummarize(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			place, entry := manyLayers(b, n)
			for b.Loop() {
				if _, err := inspect.Summarize(b.Context(), place, entry); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			place, entry := manyLayers(b, n)
			for b.Loop() {
				if _, err := inspect.Verify(b.Context(), place, entry, inspect.Options{Deep: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
