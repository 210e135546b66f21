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
