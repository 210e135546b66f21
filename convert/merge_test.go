package convert_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// sourcesOf returns the latest caches of places.
func sourcesOf(t *testing.T, places ...layout.Source) (sources []convert.MergeSource) {
	t.Helper()
	for _, place := range places {
		sources = append(sources, convert.MergeSource{Source: place, Entry: layouttest.Entry(t, place, "")})
	}
	return sources
}

func merged(t *testing.T, dst layout.Place, tag string, o convert.MergeOptions, sources ...convert.MergeSource) *convert.MergeResult {
	t.Helper()
	result, err := convert.Merge(t.Context(), sources, dst, tag, o)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// TestMergeOrder gives one root whatever the order, how often a source comes, in steps, and from which kind of place.
func TestMergeOrder(t *testing.T) {
	t.Parallel()
	all := sourcesOf(t, openCorpus(t, "artifact-gzip"), openCorpus(t, "oci-index-zstd"), openCorpus(t, "merge-small2-fresh"))
	a, b, c := all[0], all[1], all[2]
	for _, o := range []convert.Options{{}, {Form: buildcache.DockerList}, {Compression: buildcache.Zstd}, {Compression: buildcache.Uncompressed}} {
		t.Run(string(o.Form+"/")+string(o.Compression), func(t *testing.T) {
			t.Parallel()
			options := convert.MergeOptions{Options: o}
			dst := layouttest.Create(t)
			want := merged(t, dst, "all", options, a, b, c)
			wantClean(t, dst, "all")
			wantEqual(t, "tag", tagsOf(t, dst)["all"], want.To.Digest)
			if want.Superseded == 0 || want.Result.Records == 0 || len(want.Sources) != 3 || want.Moved == 0 {
				t.Errorf("%+v", want)
			}
			wantEqual(t, "other order", merged(t, dst, "x", options, c, b, a, b).To.Digest, want.To.Digest)
			merged(t, dst, "step", options, a, b)
			step := convert.MergeSource{Source: dst, Entry: layouttest.Entry(t, dst, "step")}
			wantEqual(t, "in steps", merged(t, dst, "y", options, step, c).To.Digest, want.To.Digest)
			again := convert.MergeSource{Source: dst, Entry: layouttest.Entry(t, dst, "all")}
			wantEqual(t, "again", merged(t, dst, "z", options, again).To.Digest, want.To.Digest)
			streams := []convert.MergeSource{{Source: forgetful{openCorpus(t, "artifact-gzip")}, Entry: a.Entry}, b, c}
			wantEqual(t, "without random access", merged(t, forgetful{layouttest.Create(t)}, "latest", options, streams...).To.Digest, want.To.Digest)
			dry := options
			dry.DryRun = true
			if got := merged(t, nil, "all", dry, a, b, c); o.Compression == "" && got.To.Digest != want.To.Digest {
				t.Errorf("a dry run says %s, want %s", got.To.Digest, want.To.Digest)
			}
		})
	}
}

// TestMergeFolds keeps what two sources hold in different compressions once, and takes what one has instead of recompressing it.
func TestMergeFolds(t *testing.T) {
	t.Parallel()
	gzip, zstd := openCorpus(t, "artifact-gzip"), openCorpus(t, "artifact-zstd")
	for _, name := range []string{"artifact-gzip", "artifact-zstd"} {
		compression := map[string]buildcache.Compression{"artifact-gzip": buildcache.Gzip, "artifact-zstd": buildcache.Zstd}[name]
		dst := layouttest.Create(t)
		small := openCorpus(t, "merge-small2-fresh")
		result := merged(t, dst, "latest", convert.MergeOptions{Options: convert.Options{Compression: compression}}, sourcesOf(t, gzip, zstd, small)...)
		wantClean(t, dst, "latest")
		seen := map[digest.Digest]digest.Digest{}
		for blob, layer := range load(t, dst, "latest").Root.LayersByDigest() {
			if other, ok := seen[layer.DiffID()]; ok {
				t.Errorf("%s: %s and %s hold one layer", compression, blob, other)
			}
			seen[layer.DiffID()] = blob
		}
		for _, layer := range result.Layers {
			wantEqual(t, "compression", layer.ToCompression, compression)
		}
	}
}

// TestMergeProvesTwins does not believe a source that names another layer's bytes.
func TestMergeProvesTwins(t *testing.T) {
	t.Parallel()
	honest, forged := newSynthetic(t, buildcache.Artifact), newSynthetic(t, buildcache.Artifact)
	tar, evil := tarOf(t, 1, 4000), tarOf(t, 2, 4000)
	packed := gzipBytes(t, tar)
	d, size := honest.blob(packed)
	honest.layer(d, size, buildcache.Gzip, digest.FromBytes(tar))
	d, size = forged.blob(evil)
	forged.layer(d, size, buildcache.Uncompressed, digest.FromBytes(tar)) // which it is not
	forged.conf.Records[0].Digest = digest.FromString("another step")
	dst := layouttest.Create(t)
	merged(t, dst, "latest", convert.MergeOptions{Options: convert.Options{Compression: buildcache.Uncompressed}}, sourcesOf(t, honest.tag(), forged.tag())...)
	layers := load(t, dst, "latest").Root.LayersByDigest()
	if _, ok := layers[digest.FromBytes(tar)]; !ok || len(layers) != 2 {
		t.Errorf("the layer is not there: %v", layers)
	}
}

// racing is a place in which somebody else moves the tag just before it would be moved, so many times.
type racing struct {
	layout.Place
	times int
	move  func(ctx context.Context, n int) error
}

func (r *racing) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if r.times > 0 {
		r.times--
		if err := r.move(ctx, r.times); err != nil {
			return err
		}
	}
	return r.Place.Tag(ctx, tag, root, was)
}

// TestMergeAgain merges what others tagged meanwhile, and gives up in the end.
func TestMergeAgain(t *testing.T) {
	t.Parallel()
	a, b, c := openCorpus(t, "artifact-gzip"), openCorpus(t, "merge-small2-fresh"), openCorpus(t, "multi-platform")
	want := merged(t, layouttest.Create(t), "latest", convert.MergeOptions{}, sourcesOf(t, a, b, c)...)
	for _, times := range []int{1, 3, 100} {
		dst := &racing{Place: layout.NewMemory("memory"), times: times}
		syncAll(t, a, dst.Place, convert.SyncOptions{})
		other := convert.MergeOptions{}
		dst.move = func(ctx context.Context, n int) error { // another job's merge, of its own cache or of nothing new
			entry, err := layout.OneCache(ctx, dst.Place, "latest")
			if err != nil {
				return err
			}
			other.Form = []buildcache.Form{buildcache.OCIIndex, buildcache.Artifact}[n%2]
			_, err = convert.Merge(ctx, append(sourcesOf(t, c), convert.MergeSource{Source: dst.Place, Entry: entry}), dst.Place, "latest", other)
			return err
		}
		sources := append(sourcesOf(t, b), convert.MergeSource{Source: dst, Entry: layouttest.Entry(t, dst, "latest")})
		result, err := convert.Merge(t.Context(), sources, dst, "latest", convert.MergeOptions{})
		if times == 100 {
			var moved *layout.TagMovedError
			if !errors.As(err, &moved) || dst.times == 0 {
				t.Errorf("%v after %d moves", err, 100-dst.times)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "attempts", result.Attempts, times+1)
		wantEqual(t, "root", tagsOf(t, dst)["latest"], want.To.Digest)
	}
	// A tag that is no source is not merged with, and not overwritten either.
	dst := &racing{Place: layout.NewMemory("memory"), times: 1}
	dst.move = func(ctx context.Context, _ int) error {
		_, err := convert.Merge(ctx, sourcesOf(t, c), dst.Place, "latest", convert.MergeOptions{})
		return err
	}
	var moved *layout.TagMovedError
	if _, err := convert.Merge(t.Context(), sourcesOf(t, a, b), dst, "latest", convert.MergeOptions{}); !errors.As(err, &moved) {
		t.Errorf("it ended with %v", err)
	}
}

// TestMergeFirst adds to a tag that is not there yet, and to what another one of the first has tagged meanwhile.
func TestMergeFirst(t *testing.T) {
	t.Parallel()
	a, b := openCorpus(t, "artifact-gzip"), openCorpus(t, "merge-small2-fresh")
	want := merged(t, layouttest.Create(t), "latest", convert.MergeOptions{}, sourcesOf(t, a, b)...)
	dst := &racing{Place: layout.NewMemory("memory"), times: 1}
	dst.move = func(ctx context.Context, _ int) error {
		_, err := convert.Merge(ctx, sourcesOf(t, b), dst.Place, "latest", convert.MergeOptions{WithTarget: true})
		return err
	}
	done, err := convert.Merge(t.Context(), sourcesOf(t, a), dst, "latest", convert.MergeOptions{WithTarget: true})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "attempts", done.Attempts, 2)
	wantEqual(t, "root", tagsOf(t, dst)["latest"], want.To.Digest)
	if done.NotMerged != 0 || done.Before == nil {
		t.Errorf("%+v", done)
	}
}

// large returns a cache whose config is larger than BuildKit imports.
func large(tb testing.TB, first, records int) *layout.Dir {
	tb.Helper()
	s := newSynthetic(tb, buildcache.Artifact)
	for i := range 4 {
		tar := tarOf(tb, uint64(i), 500)
		d, size := s.blob(gzipBytes(tb, tar))
		s.layer(d, size, buildcache.Gzip, digest.FromBytes(tar))
	}
	s.conf.Records = nil
	for i := first; i < first+records; i++ {
		s.conf.Records = append(s.conf.Records, buildcache.Record{
			Digest: digest.FromString(fmt.Sprint(i)),
			Results: []buildcache.Result{{
				Layer: i % 4, CreatedAt: buildcache.Time{Time: time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)},
			}},
		})
	}
	return s.tag()
}

// TestMergeTooLarge refuses with numbers what BuildKit would not import, and makes it fit.
func TestMergeTooLarge(t *testing.T) {
	t.Parallel()
	a, b := large(t, 0, 4500), large(t, 4500, 4500)
	dst := layouttest.Create(t)
	before := layouttest.Tree(t, dst.String())
	index := convert.MergeOptions{Options: convert.Options{Form: buildcache.OCIIndex}}
	_, err := convert.Merge(t.Context(), sourcesOf(t, a, b), dst, "latest", index)
	var tooLarge *convert.TooLargeError
	if !errors.As(err, &tooLarge) || tooLarge.Has.Results != 9000 || tooLarge.Fits.Results == 0 || tooLarge.Fits.Results >= 9000 {
		t.Fatalf("it ended with %v", err)
	}
	layouttest.WantTree(t, dst.String(), before, "cache.lock")
	fitting := convert.MergeOptions{
		Options: convert.Options{Form: buildcache.DockerList, Compression: buildcache.Estargz},
	}
	fitting.Prune.Fit = true
	result := merged(t, dst, "latest", fitting, sourcesOf(t, a, b)...)
	if result.Result.Results < 5000 || result.Result.Results >= 9000 || result.Config > buildcache.MaxImport || len(result.Freed) == 0 {
		t.Errorf("%+v", result)
	}
	wantClean(t, dst, "latest")
}

// TestMergeTakesWhatIsWhole finds a layer that one source lacks in another one, and says which none has.
func TestMergeTakesWhatIsWhole(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	layer := layersOf(load(t, open(t, path), ""))[2]
	remove(t, path, layer)
	broken, whole := open(t, path), openCorpus(t, "artifact-gzip")
	dst := layouttest.Create(t)
	merged(t, dst, "latest", convert.MergeOptions{}, sourcesOf(t, broken, whole)...)
	wantClean(t, dst, "latest")
	_, err := convert.Merge(t.Context(), sourcesOf(t, broken, openCorpus(t, "merge-small2-fresh")), layouttest.Create(t), "latest", convert.MergeOptions{})
	if !isMissing(err, layer) {
		t.Errorf("it ended with %v", err)
	}
}

// BenchmarkMerge merges 20 caches of 500 records each, and half and twice as many.
func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{10, 20, 40} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var sources []convert.MergeSource
			for i := range n {
				place := large(b, i*100, 500)
				sources = append(sources, convert.MergeSource{Source: place, Entry: layouttest.Entry(b, place, "")})
			}
			for b.Loop() {
				dst := layout.NewMemory("memory")
				if _, err := convert.Merge(b.Context(), sources, dst, "latest", convert.MergeOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
