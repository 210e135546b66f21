package convert_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// errRefused is what a place says of a root that it does not give away.
var errRefused = errors.New("refused")

// refusing is a place that does not give away the roots of some tags.
type refusing struct {
	manyTags
	refused []string
}

func (r refusing) LenientEntry(ctx context.Context, tag string) (*layout.Entry, error) {
	if slices.Contains(r.refused, tag) {
		return nil, errRefused
	}
	return r.Resolve(ctx, tag)
}

// TestSyncAheadGoesOn says that a root that can't be had is about its cache alone, whichever that is, and only with all of them about
// the sync.
func TestSyncAheadGoesOn(t *testing.T) {
	t.Parallel()
	place := manyTags{tags: []string{"a", "b", "c", "d"}}
	for _, refused := range [][]string{{"a"}, {"b"}, {"d"}, {"a", "b"}, {"a", "b", "c"}} {
		src := refusing{place, refused}
		for name, ends := range map[string][2]layout.Place{"source": {src, place}, "destination": {place, src}} {
			result, err := convert.Sync(t.Context(), ends[0], ends[1], convert.SyncOptions{Tags: place.Tags})
			if err != nil || result.Failed != len(refused) || len(result.Caches) != 4 || result.NotTried != 0 {
				t.Errorf("%s refuses %v: %+v, %v", name, refused, result, err)
				continue
			}
			if !errors.Is(result.Err(), errRefused) {
				t.Errorf("%s refuses %v: %v", name, refused, result.Err())
			}
		}
	}
	src := refusing{place, place.tags}
	if result, err := convert.Sync(t.Context(), src, place, convert.SyncOptions{Tags: place.Tags}); !errors.Is(err, errRefused) || result != nil {
		t.Errorf("all are refused: %+v, %v", result, err)
	}
	result, err := convert.Sync(t.Context(), src, place, convert.SyncOptions{Tags: place.Tags, FailFast: true})
	if err != nil || result.Failed != 1 || result.NotTried != 3 {
		t.Errorf("failing fast: %+v, %v", result, err)
	}
}

// denying is a place that says of the root of one tag that it does not give it away.
type denying struct{ manyTags }

func (d denying) LenientEntry(ctx context.Context, tag string) (*layout.Entry, error) {
	if tag != "b" {
		return d.Resolve(ctx, tag)
	}
	return &layout.Entry{Tag: tag, Kind: layout.KindInvalid, Err: &layout.BlobError{Place: d.String(), Err: errRefused}}, nil
}

// TestSyncErrorNamesOnce says that an error has the tag and the place of a cache once.
func TestSyncErrorNamesOnce(t *testing.T) {
	t.Parallel()
	place := manyTags{tags: []string{"a", "b"}}
	result := syncAll(t, denying{place}, place, convert.SyncOptions{Tags: place.Tags})
	const want = "1 cache of 2 failed:\ntag \"b\": many: refused"
	if err := result.Err(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
