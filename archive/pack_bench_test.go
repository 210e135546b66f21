package archive_test

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// heavy makes a layout with a cache of some layers.
func heavy(tb testing.TB, layers int, size int64) *layout.Dir {
	tb.Helper()
	dir := emptyDir(tb)
	random := rand.NewChaCha8([32]byte{})
	var blobs []buildcache.Descriptor
	for range layers {
		blob, err := dir.Ingest(tb.Context(), func(w io.Writer) error {
			_, err := io.CopyN(w, random, size)
			return err
		})
		if err != nil {
			tb.Fatal(err)
		}
		blob.MediaType = buildcache.LayerMediaType(buildcache.Artifact, buildcache.Gzip)
		blobs = append(blobs, blob)
	}
	write := func(value any, mediaType string) buildcache.Descriptor {
		raw, err := json.Marshal(value)
		if err != nil {
			tb.Fatal(err)
		}
		blob, err := dir.Ingest(tb.Context(), func(w io.Writer) error {
			_, err := w.Write(raw)
			return err
		})
		if err != nil {
			tb.Fatal(err)
		}
		blob.MediaType = mediaType
		return blob
	}
	config := write(map[string]any{"layers": []any{}, "records": []any{}}, buildcache.MediaTypeConfig)
	root := write(map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIManifest, "config": config, "layers": blobs,
	}, buildcache.MediaTypeOCIManifest)
	if err := dir.Tag(tb.Context(), "latest", root, ""); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// BenchmarkPack packs, and does what is the least that packing could be: tar, and sha256sum. Each file is brought to the
// disk.
func BenchmarkPack(b *testing.B) {
	const layers, size = 4, 128 << 20
	src := heavy(b, layers, size)
	roots := chosen(b, src, false)
	for _, way := range []struct {
		name string
		run  func(b *testing.B, file string)
	}{
		{"pack", func(b *testing.B, file string) {
			if _, err := archive.Pack(b.Context(), roots, archive.Target{File: file}, archive.PackOptions{}); err != nil {
				b.Fatal(err)
			}
		}},
		{"stream", func(b *testing.B, _ string) {
			if _, err := archive.Pack(b.Context(), roots, archive.Target{Stream: io.Discard}, archive.PackOptions{}); err != nil {
				b.Fatal(err)
			}
		}},
		{"volumes", func(b *testing.B, file string) {
			if _, err := archive.Pack(b.Context(), roots, archive.Target{File: file}, archive.PackOptions{VolumeSize: 64 << 20}); err != nil {
				b.Fatal(err)
			}
		}},
		{"tar", func(b *testing.B, file string) {
			shell(b, `tar cf "$1" -C "$2" . && sync "$1"`, file, src.String())
		}},
		{"sha256sum", func(b *testing.B, _ string) {
			shell(b, `sha256sum "$1"/blobs/sha256/* >/dev/null`, src.String())
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			dir := b.TempDir()
			b.SetBytes(layers * size)
			for b.Loop() {
				b.StopTimer()
				if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				way.run(b, filepath.Join(dir, "a.tar"))
			}
		})
	}
}

func shell(b *testing.B, script string, args ...string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
}
