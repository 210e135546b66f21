package durable_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/internal/durable"
)

// TestLog adds lines, to a new file and to one whose last line is torn.
func TestLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	add := func(lines ...string) {
		t.Helper()
		log, err := durable.On(t.Context()).OpenLog(t.Context(), path, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		for _, line := range lines {
			if err := log.Append([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		raw, err := io.ReadAll(log.Reader())
		file, readErr := os.ReadFile(path)
		if err != nil || readErr != nil || string(raw) != string(file) {
			t.Fatalf("reads %q, %v; the file has %q, %v", raw, err, file, readErr)
		}
	}
	add("one\n", "two\n")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("thr"); err != nil {
		t.Fatal(err)
	}
	file.Close()
	add("four\n", "five\n")
	raw, err := os.ReadFile(path)
	if want := "one\ntwo\nthr\nfour\nfive\n"; err != nil || string(raw) != want {
		t.Errorf("got %q, %v, want %q", raw, err, want)
	}
}

// TestLogLocked says that a log has one writer.
func TestLogLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	log, err := durable.On(t.Context()).OpenLog(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = durable.On(t.Context()).OpenLog(t.Context(), path, 0)
	var held *durable.HeldError
	if !errors.As(err, &held) || held.Path != path {
		t.Errorf("got %v, want that it is locked", err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if log, err = durable.On(t.Context()).OpenLog(t.Context(), path, 0); err != nil {
		t.Fatal(err)
	}
	log.Close()
}

// TestLogFaults says that a line that is not on the disk is not said to be.
func TestLogFaults(t *testing.T) {
	t.Parallel()
	for _, bad := range []durable.Op{durable.OpWrite, durable.OpSync} {
		broken := errors.New("broken")
		var on bool
		ctx := durable.WithFault(t.Context(), func(op durable.Op, _ string) error {
			if on && op == bad {
				return broken
			}
			return nil
		})
		log, err := durable.On(ctx).OpenLog(ctx, filepath.Join(t.TempDir(), "log"), 0)
		if err != nil {
			t.Fatal(err)
		}
		on = true
		if err := log.Append([]byte("line\n")); !errors.Is(err, broken) {
			t.Errorf("%s: got %v", bad, err)
		}
		log.Close()
	}
}
