package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// errStop ends a deletion.
var errStop = errors.New("told to stop")

// stopping is a place that is told to stop when the first tag is gone.
type stopping struct {
	layout.Place
	stop context.CancelCauseFunc
}

func (s stopping) Untag(_ context.Context, tag string, _ digest.Digest, _ []string) error {
	if tag != "a" {
		return errStop
	}
	s.stop(errStop)
	return nil
}

// TestDeletionInterrupted says that a deletion that is interrupted was not refused: something was deleted.
func TestDeletionInterrupted(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancelCause(t.Context())
	d := &syncDeletion{Before: 4}
	surplus := &convert.Surplus{Entries: []layout.Entry{{Tag: "a"}, {Tag: "b"}}, Before: 4}
	err := d.delete(ctx, stopping{layout.NewMemory("memory"), stop}, surplus, convert.HalfAtMost, false)
	if !errors.Is(err, errStop) || d.Refused != "" || d.Error != errStop.Error() || d.Deleted != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	var out bytes.Buffer
	if err := d.render(&out, layout.Reference{}, false); err != nil || !strings.Contains(out.String(), "1 of 4 caches deleted") || !strings.Contains(out.String(), errStop.Error()) {
		t.Errorf("%s%v", out.String(), err)
	}
}
