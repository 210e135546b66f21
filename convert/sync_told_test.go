package convert_test

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// TestSyncDeepTells checks that layers of the destination are announced before they are read, even if others are sent.
func TestSyncDeepTells(t *testing.T) {
	t.Parallel()
	src := open(t, several(t, "artifact-gzip"))
	layers := layersOf(load(t, src, "artifact-gzip"))
	part := layout.NewMemory("memory")
	for _, layer := range layers[1:] {
		if err := part.Put(t.Context(), layer, func() (io.ReadCloser, error) { return src.Open(t.Context(), layer) }); err != nil {
			t.Fatal(err)
		}
	}
	path := several(t, "artifact-gzip")
	blob := filepath.Join(path, "blobs", "sha256", layers[0].Digest.Encoded())
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blob, make([]byte, layers[0].Size), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dst := range []layout.Place{part, open(t, path)} {
		var mu sync.Mutex
		var told layouttest.Amounts
		exceeded := layouttest.Amounts{}
		o := convert.SyncOptions{Deep: true}
		o.OnEvent = func(e layout.Event) {
			mu.Lock()
			defer mu.Unlock()
			if told.Take(e); told.Done > told.Blobs || told.Bytes > told.Total {
				exceeded = told
			}
		}
		if result := syncAll(t, src, dst, o); result.Failed > 0 || result.Moved == 0 {
			t.Errorf("%s: %+v", dst, result)
		}
		wantEqual(t, dst.String()+": more done than planned", exceeded, layouttest.Amounts{})
		wantEqual(t, dst.String()+": at the end", told, layouttest.Amounts{Blobs: told.Done, Done: told.Done, Total: told.Bytes, Bytes: told.Bytes})
	}
}
