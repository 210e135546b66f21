package provenance

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain/explaintest"
)

// FuzzStatusLog says that no bytes harm who reads a history's log. It is inside the package, because nobody outside has a
// log without the compressed file around it.
func FuzzStatusLog(f *testing.F) {
	dir := explaintest.Unpack(f, "forms/why.dockerbuild")
	data, err := os.ReadFile(filepath.Join(dir, "forms/why.dockerbuild"))
	if err != nil {
		f.Fatal(err)
	}
	files, err := untar(data)
	if err != nil {
		f.Fatal(err)
	}
	logs := 0
	for _, content := range files {
		if status, err := parseStatusLog(content); err == nil && len(status) > 0 {
			f.Add(content)
			logs++
		}
	}
	if logs != 1 {
		f.Fatalf("%d logs in the history, want 1", logs)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		status, err := parseStatusLog(data)
		if err == nil && len(data) > 0 && len(status) > len(data) {
			t.Errorf("%d events in %d bytes", len(status), len(data))
		}
	})
}
