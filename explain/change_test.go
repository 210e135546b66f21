package explain_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// changed returns a copy of a context to which a script was applied.
func changed(t *testing.T, context, script string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "context")
	if err := os.CopyFS(to, os.DirFS(context)); err != nil {
		t.Fatal(err)
	}
	sh := exec.CommandContext(t.Context(), "sh", script)
	sh.Dir = to
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return to
}
