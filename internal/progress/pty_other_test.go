//go:build !linux

package progress_test

import (
	"os"
	"testing"
)

// openPTY skips the test: only Linux's pseudo-terminals are known here.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	t.Skip("NOT TESTED: no pseudo-terminals here")
	return nil, nil
}
