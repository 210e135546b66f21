package parallel_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/internal/parallel"
)

func TestPanic(t *testing.T) {
	t.Parallel()
	group, ctx := parallel.New(t.Context(), 2)
	group.Go(func() error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	group.Go(func() error {
		none := make([]int, 0)
		return errors.New(strings.Repeat("x", none[1])) // panics
	})
	err := group.Wait()
	var caught *parallel.PanicError
	if !errors.As(err, &caught) || !strings.Contains(err.Error(), "index out of range") || !strings.Contains(string(caught.Stack), "TestPanic") {
		t.Errorf("got %v", err)
	}
}

func TestFirstError(t *testing.T) {
	t.Parallel()
	group, ctx := parallel.New(t.Context(), 1)
	first := errors.New("first")
	group.Go(func() error { return first })
	group.Go(func() error { return context.Cause(ctx) })
	if err := group.Wait(); !errors.Is(err, first) {
		t.Errorf("got %v", err)
	}
}

// Who is stopped because another one failed does not tell the other's error as his own, and Wait returns that of the other.
func TestStopped(t *testing.T) {
	t.Parallel()
	group, ctx := parallel.New(t.Context(), 2)
	first := errors.New("first")
	var told error
	group.Go(func() error {
		<-ctx.Done()
		told = context.Cause(ctx)
		return told
	})
	group.Go(func() error { return first })
	var stopped *parallel.StoppedError
	if err := group.Wait(); err != first { //nolint:errorlint // it is to be that one alone
		t.Errorf("Wait: %v", err)
	}
	if !errors.As(told, &stopped) || !errors.Is(told, first) || strings.Contains(told.Error(), "first") {
		t.Errorf("told: %v", told)
	}
}
