package inspect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// bent is a place without random access whose blobs can be other than they should be, as those of a registry can.
type bent struct {
	layout.Source
	bend map[digest.Digest]func(io.Reader) io.Reader
	read atomic.Int64 // of bent blobs
}

func (b *bent) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	raw, err := b.Source.Open(ctx, blob)
	bend := b.bend[blob.Digest]
	if err != nil || bend == nil {
		return raw, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&counted{bend(raw), &b.read}, raw}, nil
}

type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// noEnd reads nothing but one letter, for ever.
type noEnd struct{}

func (noEnd) Read(p []byte) (int, error) { return copy(p, strings.Repeat("x", len(p))), nil }

// failing ends with an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// bend returns the place of a patient in which one blob is other than it should be.
func (p *patient) bend(blob digest.Digest, how func(io.Reader) io.Reader) *bent {
	return &bent{Source: p.open(), bend: map[digest.Digest]func(io.Reader) io.Reader{blob: how}}
}

// configOf returns the cache config of the patient's cache.
func (p *patient) configOf() buildcache.Descriptor {
	p.t.Helper()
	entries, err := layout.Caches(p.t.Context(), p.open())
	p.must(err)
	cache, err := layout.Load(p.t.Context(), p.open(), entries[0])
	p.must(err)
	return cache.Root.Config
}

// TestVerifyReadsNoFurther reads one byte behind the size that a descriptor says, however much comes.
func TestVerifyReadsNoFurther(t *testing.T) {
	t.Parallel()
	for _, deep := range []bool{false, true} {
		p := newPatient(t, "artifact-gzip")
		layer := p.layer()
		src := p.bend(layer.Digest, func(raw io.Reader) io.Reader { return io.MultiReader(raw, noEnd{}) })
		report, err := inspect.VerifyAll(t.Context(), src, inspect.Options{Deep: deep})
		if err != nil {
			t.Fatal(err)
		}
		kinds := kindsOf(report.Problems)
		if !slices.Equal(kinds, []buildcache.Kind{buildcache.BlobSize}) || report.Problems[0].Digest != layer.Digest {
			t.Errorf("deep %v: got %v", deep, report.Problems)
		}
		const head = 4 // was read before, to tell how it is packed
		if got := src.read.Load(); got != layer.Size+1+head {
			t.Errorf("deep %v: %d bytes were read of a blob of %d", deep, got, layer.Size)
		}
	}
}

// TestVerifyBrokenConnection is about places that break off a blob, or are away: that says nothing about the blob, and is an error.
func TestVerifyBrokenConnection(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "artifact-gzip")
	for name, blob := range map[string]digest.Digest{"layer": p.layer().Digest, "config": p.configOf().Digest, "root": p.rootDigest()} {
		for _, deep := range []bool{false, true} {
			for _, cause := range []error{io.ErrUnexpectedEOF, syscall.ECONNREFUSED} {
				src := p.bend(blob, func(raw io.Reader) io.Reader {
					return io.MultiReader(io.LimitReader(raw, 100), failing{fmt.Errorf("the registry: %w", cause)})
				})
				entry := layout.Entry{Tag: "latest", Descriptor: buildcache.Descriptor{Digest: p.rootDigest()}, Kind: layout.KindCache}
				if problems, err := inspect.Verify(t.Context(), src, entry, inspect.Options{Deep: deep}); !errors.Is(err, cause) {
					t.Errorf("%s, deep %v: %v gives %v, %v", name, deep, cause, problems, err)
				}
			}
		}
	}
	p = newPatient(t, "inline-image")
	layer := buildcache.Successors(p.read(p.rootDigest()))[0]
	src := p.bend(layer.Digest, func(raw io.Reader) io.Reader {
		return io.MultiReader(io.LimitReader(raw, 10), failing{io.ErrUnexpectedEOF})
	})
	if report, err := inspect.VerifyAll(t.Context(), src, inspect.Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("in an image: %v, %v", report.Problems, err)
	}
}

// TestVerifyGoesOn says that what else is wrong is found although some blob can't be read to its end, of one cache and of several.
func TestVerifyGoesOn(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "artifact-gzip")
	layers := p.root().Layers
	broken, damaged := layers[0].Digest, layers[len(layers)-1].Digest
	p.overwrite(damaged, bytes.Repeat([]byte("x"), int(layers[len(layers)-1].Size)))
	p.editIndex(func(index *buildcache.Index) {
		again := index.Entries[0]
		again.Annotations = map[string]string{ocispec.AnnotationRefName: "again"}
		index.Entries = append(index.Entries, again)
	})
	src := p.bend(broken, func(raw io.Reader) io.Reader {
		return io.MultiReader(io.LimitReader(raw, 10), failing{io.ErrUnexpectedEOF})
	})
	want := []buildcache.Kind{buildcache.BlobDamaged}
	for _, jobs := range []int{1, 3} {
		one, err := inspect.VerifyTag(t.Context(), src, "latest", inspect.Options{Jobs: jobs})
		if kinds := kindsOf(one.Problems); !errors.Is(err, io.ErrUnexpectedEOF) || !slices.Equal(kinds, want) || one.Caches != 0 {
			t.Errorf("one: %v, %+v", err, one)
		}
		all, err := inspect.VerifyAll(t.Context(), src, inspect.Options{Jobs: jobs})
		if kinds := kindsOf(all.Problems); err != nil || !slices.Equal(kinds, append(want, want...)) || all.Caches != 0 || len(all.Unread) != 2 {
			t.Errorf("all: %v, %+v", err, all)
		}
	}
}

// TestVerifyUnreadable says that a directory with blobs that the disk does not give is still verified otherwise.
func TestVerifyUnreadable(t *testing.T) {
	t.Parallel()
	const unreadable = "/proc/self/mem" // its first bytes
	if _, err := os.ReadFile(unreadable); !errors.Is(err, syscall.EIO) {
		t.Skipf("no file here gives an input/output error: %v", err)
	}
	p := newPatient(t, "artifact-gzip")
	layers := p.root().Layers
	spoil := func(blob digest.Digest) {
		p.must(errors.Join(os.Remove(p.path(blob)), os.Symlink(unreadable, p.path(blob))))
	}
	spoil(layers[0].Digest)
	p.overwrite(layers[1].Digest, []byte("x"))
	p.overwrite(digest.FromString("stray"), []byte("other bytes"))
	report, err := inspect.VerifyAll(t.Context(), p.open(), inspect.Options{})
	want := []buildcache.Kind{buildcache.BlobDamaged, buildcache.BlobDamaged, buildcache.Unreachable}
	if kinds := kindsOf(report.Problems); !errors.Is(err, syscall.EIO) || !slices.Equal(kinds, want) || report.Caches != 0 || len(report.Unread) != 1 {
		t.Errorf("%v, %+v", err, report)
	}
	spoil(p.configOf().Digest)
	report, err = inspect.VerifyAll(t.Context(), p.open(), inspect.Options{})
	if kinds := kindsOf(report.Problems); !errors.Is(err, syscall.EIO) || !slices.Equal(kinds, want) || len(report.Unread) != 1 {
		t.Errorf("config: %v, %+v", err, report)
	}
}

func kindsOf(problems []buildcache.Problem) []buildcache.Kind {
	var kinds []buildcache.Kind
	for _, p := range problems {
		kinds = append(kinds, p.Kind)
	}
	return kinds
}

// TestVerifyRegistryGivesLess is about a real client's errors: the registry sends a layer that is shorter than it should be,
// and then is away.
func TestVerifyRegistryGivesLess(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "artifact-gzip")
	layer := p.layer()
	server := registrytest.New(t, registrytest.Options{})
	verify := false
	repository, err := registry.Open(server.Host+"/less", registry.Options{TLSVerify: &verify, Retries: 1, Delay: time.Millisecond})
	p.must(err)
	defer func() { p.must(repository.Close()) }()
	if _, err := convert.Sync(t.Context(), p.open(), repository, convert.SyncOptions{}); err != nil {
		t.Fatal(err)
	}
	less := registrytest.Fault{Method: http.MethodGet, Path: "/blobs/" + layer.Digest.String(), Length: -10, Times: -1}
	server.Inject(less)
	report, err := inspect.VerifyAll(t.Context(), repository, inspect.Options{})
	if kinds := kindsOf(report.Problems); err != nil || !slices.Equal(kinds, []buildcache.Kind{buildcache.BlobDamaged}) {
		t.Errorf("got %v, %v", report.Problems, err)
	}
	server.AssertFired(t)
	server.Heal()
	server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/" + layer.Digest.String(), Drop: true, Times: -1})
	if report, err := inspect.VerifyAll(t.Context(), repository, inspect.Options{}); err == nil {
		t.Errorf("a registry that is away gives %v", report.Problems)
	}
}

// TestVerifyUnknownReach advises nothing that deletes where nobody can know what is needed.
func TestVerifyUnknownReach(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "inline-image")
	manifest := p.rootDigest()
	p.overwrite(manifest, []byte("{"))
	report, err := inspect.VerifyAll(t.Context(), p.open(), inspect.Options{})
	p.must(err)
	at := slices.IndexFunc(report.Problems, func(p buildcache.Problem) bool { return p.Kind == buildcache.Unreachable })
	if at < 0 || !strings.Contains(report.Problems[at].Detail, "can't tell which blobs are needed") || report.Problems[at].Remedy != "repair what is damaged first" {
		t.Errorf("got %+v", report.Problems)
	}
}

// TestVerifyTwoSizes is about a blob that two roots give different sizes: how far one reads it says nothing about the other.
func TestVerifyTwoSizes(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "artifact-gzip")
	entries, err := layout.Caches(t.Context(), p.open())
	p.must(err)
	cache, err := layout.Load(t.Context(), p.open(), entries[0])
	p.must(err)
	layer := &cache.Root.Layers[0]
	layer.Size -= 10
	raw, err := json.Marshal(cache.Root)
	p.must(err)
	lying := buildcache.Descriptor{MediaType: entries[0].Descriptor.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	for _, order := range [][]buildcache.Descriptor{{lying, entries[0].Descriptor}, {entries[0].Descriptor, lying}} {
		dst := layout.NewMemory("memory")
		_, err = convert.Convert(t.Context(), p.open(), entries[0], dst, "whole", convert.Options{})
		p.must(errors.Join(err, dst.Put(t.Context(), lying, layout.OpenBytes(raw))))
		for i, root := range order {
			p.must(dst.Tag(t.Context(), fmt.Sprint(i), root, ""))
		}
		report, err := inspect.VerifyAll(t.Context(), withoutFirst{dst}, inspect.Options{})
		p.must(err)
		for _, problem := range report.Problems {
			if at, err := strconv.Atoi(problem.Cache); err != nil || order[at].Digest != lying.Digest || problem.Digest != layer.Digest {
				t.Errorf("found %v", problem)
			}
		}
		if len(report.Problems) == 0 {
			t.Error("nothing was found")
		}
	}
}

// withoutFirst is a place without its first entry.
type withoutFirst struct{ layout.Source }

func (s withoutFirst) Entries(ctx context.Context) ([]layout.Entry, error) {
	entries, err := s.Source.Entries(ctx)
	return entries[1:], err
}
