package registry_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// large is the size of a layer that takes more than one packet, and more than the library wants to see before it
// resumes a transfer a second time.
const large = 3 << 20

// largeCache has one such layer among small ones.
func largeCache(t *testing.T) (dir *layout.Dir, layer buildcache.Descriptor) {
	t.Helper()
	raw := noise(1, large)
	return made(t, buildcache.Gzip, []byte("one"), raw, []byte("three")), blobOf(string(raw))
}

// TestCutPull breaks the connection twice in one large blob.
func TestCutPull(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	for _, at := range []float64{0.25, 0.5, 0.75} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			mustTransfer(t, from, open(t, server, plain()))
			server.Forget()
			server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/" + layer.Digest.String(), CutAt: at, Times: 2})
			wantBack(t, server, from, plain())
			server.AssertFired(t)
			resumed := 0
			for _, r := range server.Requests() {
				if r.Status == http.StatusPartialContent {
					resumed++
				}
			}
			if n := server.Count(http.MethodGet, layer.Digest.String()); n < 3 || resumed == 0 {
				t.Errorf("%d requests, %d of them for the rest", n, resumed)
			}
		})
	}
}

// TestCutWithoutRanges breaks it at a registry that can only send whole blobs.
func TestCutWithoutRanges(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	lenient := registrytest.Lenient(t)
	mustTransfer(t, from, open(t, lenient, plain()))
	lenient.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/" + layer.Digest.String(), CutAt: 0.5, Times: 2})
	wantBack(t, lenient, from, plain())
	lenient.AssertFired(t)
}

// TestCutForEver never gets through, and publishes nothing; a later run goes on with what is there.
func TestCutForEver(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	server := registrytest.New(t, registrytest.Options{})
	mustTransfer(t, from, open(t, server, plain()))
	server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/" + layer.Digest.String(), CutAt: 0.1, Times: -1})
	short := plain()
	short.Retries = 1
	back := layouttest.Create(t)
	r := open(t, server, short)
	_, err := convert.Convert(t.Context(), r, layouttest.Entry(t, r, "latest"), back, "latest", convert.Options{Jobs: 1})
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), layer.Digest.String()) {
		t.Errorf("got %v", err)
	}
	server.AssertFired(t)
	if entries, err := back.Entries(t.Context()); err != nil || len(entries) != 0 {
		t.Errorf("tagged: %v %v", entries, err)
	}
	server.Heal()
	server.Forget()
	// The layers are read largest first, so that one alone was tried so far.
	mustTransfer(t, open(t, server, plain()), back)
	wantBlobs(t, back, blobs(t, from, layouttest.Entry(t, from, "latest").Descriptor))
}

// TestCutPush breaks it twice in one large blob on its way there.
func TestCutPush(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	for _, at := range []float64{0.25, 0.5, 0.75, 1} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			only := made(t, buildcache.Gzip, noise(1, large))
			server.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/uploads/", CutAt: at, Times: 2})
			mustTransfer(t, only, open(t, server, plain()))
			server.AssertFired(t)
			wantBack(t, server, only, plain())
		})
	}
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		server := registrytest.New(t, registrytest.Options{})
		server.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/uploads/", CutAt: 0.5, Times: 2})
		short := plain()
		short.Retries = 1
		_, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), open(t, server, short), "latest", convert.Options{Jobs: 1})
		if err == nil || !strings.Contains(err.Error(), layer.Digest.String()) {
			t.Errorf("got %v", err)
		}
		server.AssertFired(t)
		if got := latestOf(t, server); got != "" {
			t.Errorf("the tag names %s", got)
		}
		mustTransfer(t, from, open(t, server, plain()))
		wantBack(t, server, from, plain())
	})
}

// TestRecompressedPush has faults happen to blobs whose digest is known only at their end.
func TestRecompressedPush(t *testing.T) {
	t.Parallel()
	for what, fault := range map[string]registrytest.Fault{
		"POST 503":        {Method: http.MethodPost, Status: 503, Times: 2},
		"POST 429":        {Method: http.MethodPost, Status: 429, RetryAfter: "0"},
		"PATCH 429":       {Method: http.MethodPatch, Status: 429, Times: 2},
		"PATCH 500":       {Method: http.MethodPatch, Status: 500},
		"PATCH cut":       {Method: http.MethodPatch, CutAt: 0.5, Times: 2},
		"PATCH unheard":   {Method: http.MethodPatch, CutAt: 1},
		"PATCH hangs":     {Method: http.MethodPatch, Hang: true},
		"PATCH dropped":   {Method: http.MethodPatch, Drop: true, Times: 2},
		"PUT 500":         {Method: http.MethodPut, Path: "/uploads/", Status: 500},
		"PUT unheard":     {Method: http.MethodPut, Path: "/uploads/", CutAt: 1},
		"PUT lost":        {Method: http.MethodPut, Path: "/uploads/", LoseUpload: true},
		"PATCH lost":      {Method: http.MethodPatch, LoseUpload: true, Times: 2},
		"PUT of root 429": {Method: http.MethodPut, Path: "/manifests/", Status: 429, Times: 2},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			from := made(t, buildcache.Uncompressed, tarball(t, 1, large), tarball(t, 2, 1000))
			server.Inject(fault)
			o := plain()
			if fault.Hang {
				o.Idle = silence()
			}
			result, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), open(t, server, o), "latest",
				convert.Options{Compression: buildcache.Gzip, Level: 1})
			if err != nil {
				t.Fatal(err)
			}
			server.AssertFired(t)
			back := layouttest.Create(t)
			mustTransfer(t, open(t, server, plain()), back)
			report, err := inspect.VerifyTag(t.Context(), back, "latest", inspect.Options{Deep: true})
			if err != nil || len(report.Problems) != 0 || layouttest.Entry(t, back, "latest").Descriptor.Digest != result.To.Digest {
				t.Errorf("%+v %v", report.Problems, err)
			}
		})
	}
}

// TestWrongLength has answers that are shorter or longer than they say, or than the descriptor says.
func TestWrongLength(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	for what, fault := range map[string]registrytest.Fault{
		"one short": {Length: -1}, "one long": {Length: 1},
	} {
		for _, times := range []int{1, -1} {
			t.Run(fmt.Sprint(what, times), func(t *testing.T) {
				t.Parallel()
				server := registrytest.New(t, registrytest.Options{})
				mustTransfer(t, from, open(t, server, plain()))
				fault := fault // which the other test of it changes, too
				fault.Method, fault.Path, fault.Times = http.MethodGet, layer.Digest.String(), times
				server.Inject(fault)
				short, back := plain(), layouttest.Create(t)
				short.Retries = 2
				_, err := transfer(t, open(t, server, short), back)
				server.AssertFired(t)
				switch {
				case err == nil:
					wantBlobs(t, back, blobs(t, from, layouttest.Entry(t, from, "latest").Descriptor))
				case !errors.Is(err, layout.ErrBlobSize) && !errors.Is(err, layout.ErrBlobDamaged) && !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), layer.Digest.String()):
					t.Errorf("got %v", err)
				}
				if times == 1 && what == "one short" && err != nil {
					t.Error("the second time it would have been right")
				}
				if what == "one short" && errors.Is(err, layout.ErrBlobDamaged) != (times < 0) {
					t.Errorf("got %v, want damage where the registry has no more", err)
				}
			})
		}
	}
}

// TestTruncated tells a blob that the registry has only the beginning of from connections that break, with which nothing is wrong.
func TestTruncated(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	for _, test := range []struct {
		name    string
		fault   registrytest.Fault
		retries int
		damaged bool
	}{
		{"half", registrytest.Fault{Length: -layer.Size / 2}, 1, true},
		{"nothing", registrytest.Fault{Length: -layer.Size}, 1, true},
		{"half, asked once", registrytest.Fault{Length: -layer.Size / 2}, -1, true},
		{"cut", registrytest.Fault{CutAt: 0.5}, 1, false},
		{"cut, asked once", registrytest.Fault{CutAt: 0.5}, -1, false},
		{"cut before the end that is said", registrytest.Fault{CutAt: 0.25, Length: -layer.Size / 2}, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			mustTransfer(t, from, open(t, server, plain()))
			test.fault.Method, test.fault.Path, test.fault.Times = http.MethodGet, layer.Digest.String(), -1
			server.Inject(test.fault)
			o := plain()
			o.Retries = test.retries
			err := layout.ReadThrough(t.Context(), open(t, server, o), layer, func(int64) {})
			server.AssertFired(t)
			if errors.Is(err, layout.ErrBlobDamaged) != test.damaged || errors.Is(err, io.ErrUnexpectedEOF) == test.damaged {
				t.Errorf("got %v, want damage: %v", err, test.damaged)
			}
		})
	}
}

// TestKeepsDamaged sends a blob to a registry that has it, or gets it mounted, with another size: it may take it and keep what it had.
func TestKeepsDamaged(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	short := -layer.Size / 2
	for _, test := range []struct {
		name      string
		looks     int // that are answered with another size, of all
		reads     int
		elsewhere bool // it is another repository that has the blob
		kept      bool
	}{
		{name: "kept", looks: -1, reads: -1, kept: true},
		{name: "replaced", looks: 1},
		{name: "never a right size", looks: -1},
		{name: "mounted", looks: -1, reads: -1, elsewhere: true, kept: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			o := plain()
			o.Hosts = &registry.Hosts{}
			dst := open(t, server, o)
			mustTransfer(t, from, open(t, server, o))
			if test.elsewhere {
				dst = repository(t, server, "other/cache", o)
			}
			server.Inject(registrytest.Fault{Method: http.MethodHead, Path: layer.Digest.String(), Length: short, Times: test.looks})
			if test.reads != 0 {
				server.Inject(registrytest.Fault{Method: http.MethodGet, Path: layer.Digest.String(), Length: short, Times: test.reads})
			}
			_, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), dst, "again", convert.Options{})
			server.AssertFired(t)
			var held *layout.HeldError
			switch {
			case test.kept && (!errors.As(err, &held) || held.Place != dst.String() || !errors.Is(err, layout.ErrBlobDamaged)):
				t.Errorf("got %v, want a *HeldError around damage", err)
			case !test.kept && err != nil:
				t.Errorf("got %v", err)
			}
			server.Heal()
			if found, err := dst.Resolve(t.Context(), "again"); err != nil || (found == nil) != test.kept {
				t.Errorf("the tag names %v: %v", found, err)
			}
		})
	}
}

// TestNobodyThere talks to nobody, and to those who say nothing.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	from := many(t, 2)
	o := plain()
	o.Retries, o.Idle = 1, silence()
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		host := listener.Addr().String()
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := registry.Open(host+"/cache", o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Entries(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("pull: %v", err)
		}
		if _, err := transfer(t, from, r); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("push: %v", err)
		}
	})
	for what, fault := range map[string]registrytest.Fault{
		"everything": {}, "GET": {Method: http.MethodGet, Path: "/blobs/"}, "HEAD": {Method: http.MethodHead},
		"POST": {Method: http.MethodPost}, "PUT": {Method: http.MethodPut},
	} {
		t.Run("silent "+what, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			r := open(t, server, o)
			if what == "GET" {
				mustTransfer(t, from, r)
			}
			fault.Hang, fault.Times = true, -1
			server.Inject(fault)
			start := time.Now()
			var err error
			if what == "GET" {
				_, err = convert.Convert(t.Context(), r, layout.Entry{Tag: "latest", Descriptor: layouttest.Entry(t, from, "latest").Descriptor}, layouttest.Create(t), "latest", convert.Options{})
			} else {
				_, err = transfer(t, from, r)
			}
			if !errors.Is(err, registry.ErrIdle) || !strings.Contains(err.Error(), "the registry is silent") || time.Since(start) > 20*time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
			server.AssertFired(t)
			server.Heal()
			if got := latestOf(t, server); got != "" && what != "GET" {
				t.Errorf("the tag names %s", got)
			}
		})
	}
}

// TestBetweenRegistries has one of two registries fail, and wants the right one blamed.
func TestBetweenRegistries(t *testing.T) {
	t.Parallel()
	from, layer := largeCache(t)
	for _, compression := range []buildcache.Compression{"", buildcache.Zstd} {
		for what, fault := range map[string]registrytest.Fault{
			"cut": {CutAt: 0.5, Times: 2}, "silent": {Hang: true}, "always silent": {Hang: true, Times: -1}, "gone": {Status: 404, Times: -1},
			"flipped": {Flip: true, Times: -1},
		} {
			t.Run(fmt.Sprint(what, " ", compression), func(t *testing.T) {
				t.Parallel()
				src, dst := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{})
				from, layer := from, layer
				if compression != "" {
					raw := tarball(t, 1, large)
					from = made(t, buildcache.Uncompressed, raw)
					layer = blobOf(string(raw))
				}
				mustTransfer(t, from, open(t, src, plain()))
				fault.Method, fault.Path = http.MethodGet, layer.Digest.String()
				src.Inject(fault)
				o := plain()
				o.Retries = 2
				if fault.Hang {
					o.Idle = silence()
				}
				here, there := open(t, src, o), open(t, dst, o)
				_, err := convert.Convert(t.Context(), here, layouttest.Entry(t, here, "latest"), there, "latest", convert.Options{Compression: compression})
				src.AssertFired(t)
				passes := what == "cut" || what == "silent"
				switch {
				case passes && err != nil:
					t.Errorf("got %v", err)
				case !passes && (err == nil || !strings.Contains(err.Error(), src.Host)):
					t.Errorf("got %v", err)
				}
				if !passes && strings.Contains(fmt.Sprint(err), dst.Host) {
					t.Errorf("the wrong one is blamed: %v", err)
				}
				if got := latestOf(t, dst); (got != "") != passes {
					t.Errorf("the tag names %q", got)
				}
				if passes && compression == "" {
					wantBack(t, dst, from, plain())
				}
			})
		}
	}
}
