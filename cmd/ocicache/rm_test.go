package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// cutShort is a directory whose user presses Ctrl-C after the first tag has gone.
type cutShort struct {
	*layout.Dir

	cancel context.CancelFunc
}

func (c cutShort) Untag(ctx context.Context, tag string, was digest.Digest, sharing []string) error {
	defer c.cancel()
	return c.Dir.Untag(ctx, tag, was, sharing)
}

// TestRmInterrupted says that an rm that did a part of its work does not end as if it had done all of it.
func TestRmInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir() + "/tags"
	if err := os.CopyFS(dir, os.DirFS("../../testdata/caches/multi-tag")); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr, opens: func(src layout.Source) layout.Source {
		opened, ok := src.(*layout.Dir)
		if !ok {
			t.Fatalf("%s is not a directory", src)
		}
		return cutShort{opened, cancel}
	}}
	if status := a.run(ctx, []string{"rm", dir, "--match", "*"}); status != exitInterrupted || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("status %d: %s%s", status, stdout.String(), stderr.String())
	}
	if !strings.Contains(stdout.String(), ": 1 of 2 caches deleted") {
		t.Errorf("it does not say what was done: %s", stdout.String())
	}
}

// TestRmByHand ends as for any registry that does not delete, and says what does.
func TestRmByHand(t *testing.T) {
	t.Parallel()
	kept := &layout.KeptError{Place: "docker://ghcr.io/x/y", Tag: "a", ByHand: "gh api", Err: errors.New("unsupported")}
	result := rmResult{Path: kept.Place, Tags: []rmTag{{Untagged: convert.Untagged{Tag: "a", Kept: true, ByHand: kept.ByHand, Err: kept}}}}
	err := result.err()
	if got := status(err); got != exitRefused {
		t.Errorf("status %d (%v)", got, err)
	}
	if got := (&app{}).hintPlace(err); !strings.Contains(got, "its own API") {
		t.Errorf("hint: %s", got)
	}
	var out bytes.Buffer
	if err := result.render(&out); err != nil || !strings.Contains(out.String(), "NOT DELETED") || !strings.Contains(out.String(), "\n  gh api\n") {
		t.Errorf("%s (%v)", out.String(), err)
	}
}
