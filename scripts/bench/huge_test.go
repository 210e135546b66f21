package bench

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

const (
	// layerSize is the size in bytes of the layer before encoding, tar headers aside.
	layerSize = 2 << 30
	// smallFile is the size of the files beside a huge one of half the layer.
	smallFile = 1 << 20
	// maxRSS is the limit of the design for the memory of a conversion, in bytes.
	maxRSS = 150 << 20
	jobs   = 2

	roleVariable = "OCICACHE_BENCH_ROLE"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(context.Background(), role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is what the processes do that are measured, and the one that makes their input.
func play(ctx context.Context, role string, args []string) error {
	switch {
	case role == "generate" && len(args) == 2:
		return generate(ctx, args[0], buildcache.Compression(args[1]))
	case role == "convert" && len(args) == 3:
		return recompress(ctx, args[0], args[1], buildcache.Compression(args[2]))
	}
	return fmt.Errorf("what is %v?", args)
}

// child runs a role and returns its peak memory in bytes.
func child(b *testing.B, role string, args ...string) int64 {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		b.Fatal("this system does not tell how much memory a process took")
	}
	return usage.Maxrss << 10
}

// BenchmarkHugeLayer recompresses one layer of 2 GiB.
func BenchmarkHugeLayer(b *testing.B) {
	dir := b.TempDir()
	for _, from := range []buildcache.Compression{buildcache.Gzip, buildcache.Zstd} {
		src := filepath.Join(dir, string(from))
		for _, to := range buildcache.Compressions() {
			if from == to || from == buildcache.Zstd && to != buildcache.Gzip {
				continue
			}
			b.Run(string(from)+" to "+string(to), func(b *testing.B) {
				if _, err := os.Stat(src); err != nil { // made once, and only if any of these is to run
					child(b, "generate", src, string(from))
				}
				b.SetBytes(layerSize)
				var peak int64
				for b.Loop() {
					dst := filepath.Join(b.TempDir(), "dst")
					peak = max(peak, child(b, "convert", src, dst, string(to)))
					b.StopTimer()
					if err := os.RemoveAll(dst); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				b.ReportMetric(float64(peak)/(1<<20), "peak-RSS-MiB")
				if peak > maxRSS {
					b.Errorf("it took %d MiB of memory, the limit is %d", peak>>20, maxRSS>>20)
				}
			})
		}
	}
}

// generate makes a layout with a cache of one huge layer.
func generate(ctx context.Context, path string, c buildcache.Compression) error {
	dir, err := layout.Create(ctx, path, layout.Options{})
	if err != nil {
		return err
	}
	sum := sha256.New()
	blob, err := dir.Ingest(ctx, func(w io.Writer) error {
		pr, pw := io.Pipe()
		go func() { _ = pw.CloseWithError(writeTar(io.MultiWriter(pw, sum))) }() // always nil
		_, err := compress.Encode(w, pr, c, 1)
		return err
	})
	if err != nil {
		return err
	}
	blob.MediaType = buildcache.LayerMediaType(buildcache.Artifact, c)
	blob.Annotations = map[string]string{buildcache.AnnotationDiffID: digest.NewDigest(digest.SHA256, sum).String()}
	config := buildcache.Config{
		Layers:  []buildcache.Layer{{Blob: blob.Digest, Parent: buildcache.NoParent}},
		Records: []buildcache.Record{{Digest: digest.FromString("a step"), Results: []buildcache.Result{{Layer: 0}}}},
	}
	root := buildcache.Root{Form: buildcache.Artifact, Layers: []buildcache.Descriptor{blob}}
	raw, err := json.Marshal(&config)
	if err != nil {
		return err
	}
	root.Config.MediaType = buildcache.MediaTypeConfig
	root.SetConfig(raw)
	if err := dir.Put(ctx, root.Config, layout.OpenBytes(raw)); err != nil {
		return err
	}
	if raw, err = json.Marshal(&root); err != nil {
		return err
	}
	entry := buildcache.Descriptor{MediaType: root.Form.MediaType(), Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if err := dir.Put(ctx, entry, layout.OpenBytes(raw)); err != nil {
		return err
	}
	return dir.Tag(ctx, "latest", entry, "")
}

// writeTar writes the layer before encoding: one file of half the size, and small ones.
func writeTar(out io.Writer) error {
	w := tar.NewWriter(out)
	source := newText()
	left := int64(layerSize)
	for i := 0; left > 0; i++ {
		size := int64(smallFile)
		if i == 0 {
			size = layerSize / 2
		}
		header := &tar.Header{Name: fmt.Sprintf("usr/lib/file-%d", i), Mode: 0o644, Size: size, ModTime: time.Unix(1e9, 0)}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.CopyN(w, source, size); err != nil {
			return err
		}
		left -= size
	}
	return w.Close()
}

// text is an endless stream that compresses about as well as software does: lines of random letters, of which every
// other is one of the last few again. It is the same each time.
type text struct {
	random *rand.ChaCha8
	recent [64][64]byte
	n      uint64
	rest   bytes.Reader
}

func newText() *text { return &text{random: rand.NewChaCha8([32]byte{1})} }

func (t *text) Read(p []byte) (int, error) {
	if t.rest.Len() == 0 {
		t.rest.Reset(t.line())
	}
	return t.rest.Read(p)
}

func (t *text) line() []byte {
	t.n++
	slot := t.random.Uint64()
	line := &t.recent[slot%uint64(len(t.recent))]
	if t.n%2 == 0 {
		return line[:]
	}
	for i := 0; i < len(line); i += 8 {
		letters := t.random.Uint64()&0x0f0f0f0f0f0f0f0f | 0x6060606060606060
		binary.LittleEndian.PutUint64(line[i:], letters)
	}
	return line[:]
}

// recompress is what is measured.
func recompress(ctx context.Context, from, to string, c buildcache.Compression) error {
	src, err := layout.Open(from, layout.Options{})
	if err != nil {
		return err
	}
	dst, err := layout.Create(ctx, to, layout.Options{})
	if err != nil {
		return err
	}
	entry, err := layout.OneCache(ctx, src, "latest")
	if err != nil {
		return err
	}
	result, err := convert.Convert(ctx, src, entry, dst, "latest", convert.Options{Compression: c, Jobs: jobs})
	if err != nil {
		return err
	}
	if len(result.Layers) != 1 || result.Layers[0].Action != convert.Recompress {
		return errors.New("the layer was not recompressed")
	}
	return nil
}
