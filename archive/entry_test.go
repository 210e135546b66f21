package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// entriesTar returns a tar with n entries of one type, each with a name of its own.
func entriesTar(t *testing.T, flag byte, name string, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range n {
		if err := w.WriteHeader(&tar.Header{Typeflag: flag, Name: fmt.Sprintf(name, i), Mode: 0o444}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readOnly is a tar in memory, of which only the bytes are asked for.
type readOnly struct {
	*bytes.Reader
	source
}

func (r readOnly) ReadAt(p []byte, offset int64) (int, error) { return r.Reader.ReadAt(p, offset) }
func (r readOnly) Size() int64                                { return r.Reader.Size() }

// TestTooManyEntries is about names as a bomb: whatever they are names of, one more than MaxEntries is refused. All but
// the last few were read before.
func TestTooManyEntries(t *testing.T) {
	t.Parallel()
	const last = 3
	blob := "blobs/sha256/" + digest.FromString("a").Encoded()[:63] + "%d"
	for _, kind := range []struct {
		flag byte
		name string
	}{{tar.TypeDir, "d%d/"}, {tar.TypeReg, "f%d"}, {tar.TypeReg, blob}} {
		for _, more := range []int{0, 1} {
			data := entriesTar(t, kind.flag, kind.name, last+more)
			for way, s := range map[string]*tarScanner{
				"stream": newScanner(t.Context(), "the-archive", bytes.NewReader(data)),
				"file":   newFileScanner(t.Context(), "the-archive", readOnly{Reader: bytes.NewReader(data)}),
			} {
				s.names.count = MaxEntries - last
				var err error
				for err == nil {
					_, err = s.next()
				}
				var hostile *HostileError
				switch {
				case more == 0 && err != io.EOF: //nolint:errorlint // next returns it itself
					t.Errorf("%s, %s: %v", way, kind.name, err)
				case more == 1 && (!errors.As(err, &hostile) || hostile.Entry != fmt.Sprintf(kind.name, last) ||
					!strings.Contains(err.Error(), "entries") || !strings.Contains(err.Error(), "the-archive")):
					t.Errorf("%s, %s: got %v", way, kind.name, err)
				}
			}
		}
	}
}
