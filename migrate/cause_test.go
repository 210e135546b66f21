package migrate

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// TestCauseOf says what may be mended by trying again: only a root that is certainly none of a cache is hopeless, not one that is missing.
func TestCauseOf(t *testing.T) {
	t.Parallel()
	missing := buildcache.NewProblem(buildcache.BlobMissing, "layers[0]", "")
	other := buildcache.NewProblem(buildcache.LayerNoDiffID, "layers[0]", "")
	for _, test := range []struct {
		err      error
		want     Cause
		hopeless bool
	}{
		{&layout.DanglingError{Place: "a", Tag: "x", Err: layout.ErrBlobMissing}, CauseDamaged, false},
		{&layout.BlobError{Err: layout.ErrBlobMissing}, CauseDamaged, false},
		{fmt.Errorf("a root: %w", errors.Join(buildcache.ErrNotCache, &layout.BlobError{Err: layout.ErrBlobDamaged})), CauseDamaged, false},
		{&convert.ProofError{Problems: []buildcache.Problem{other, missing}}, CauseDamaged, false},
		{&convert.ProofError{Problems: []buildcache.Problem{other}}, CauseUnusable, true},
		{&layout.NotFoundError{Place: "a", Tag: "x"}, CauseNotThere, false},
		{&places.NotThereError{Path: "a"}, CauseNotThere, false},
		{&fs.PathError{Op: "open", Path: "a", Err: fs.ErrNotExist}, CauseNotThere, false},
		{fmt.Errorf("a root: %w", buildcache.ErrNotCache), CauseNoCache, true},
		{fmt.Errorf("GET: %w", http.ErrSchemeMismatch), CauseTLS, false},
		{fmt.Errorf("GET: %w", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), CauseTLS, false},
		{errors.New("it rains"), CauseOther, false},
	} {
		if got := causeOf(test.err); got != test.want || got.IsHopeless() != test.hopeless {
			t.Errorf("%v is %s, hopeless %t; want %s", test.err, got, got.IsHopeless(), test.want)
		}
	}
}

// TestAdvice names what in the plan may help.
func TestAdvice(t *testing.T) {
	t.Parallel()
	const trust = "in the plan, registries: {\"n.example:5000\": {tls_verify: false}} allows plain HTTP and any certificate, for lines of SOURCE and TARGET --tls-verify=false does; cert_dir names who is trusted"
	for _, test := range []struct {
		r    Record
		want string
	}{
		{Record{Cause: CauseTLS, Source: "docker://o.example/x", Target: "docker://n.example:5000/{repository}", Error: "https://n.example:5000/v2/: no"}, trust},
		{Record{Cause: CauseRefused, As: ""}, "these keep their forms; with to: auto in the plan they get one that the target takes"},
		{Record{Cause: CauseRefused, As: "zstd level 3"}, "these keep their forms; with to: auto in the plan they get one that the target takes"},
		{Record{Cause: CauseRefused, As: "auto zstd"}, ""},
		{Record{Cause: CauseRefused, As: "docker-list"}, "where it is the form that is refused, to: auto in the plan gives them one that the target takes"},
		{Record{Cause: CauseNotThere, Source: "r.example/x", Error: (&places.HostError{Path: "r.example/x"}).Error()}, "did you mean docker://r.example/x?"},
		{Record{Cause: CauseNotThere, Source: "x", Target: "oci:r.example/x:v1", Error: (&places.HostError{Path: "r.example/x"}).Error()}, "did you mean docker://r.example/x?"},
		{Record{Cause: CauseNotThere, Source: "x", Error: "x: no such file or directory"}, ""},
		{Record{Cause: CauseBusy}, ""},
	} {
		if got := adviceFor(test.r); got != test.want {
			t.Errorf("%+v: %q, want %q", test.r, got, test.want)
		}
	}
}
