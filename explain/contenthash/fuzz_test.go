package contenthash_test

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/llb"
)

// FuzzLayer says that no layer and no selection harm who hashes them, and that the same gives the same.
func FuzzLayer(f *testing.F) {
	f.Add(layerOf(f, file("a/b", "x"), link("a/l", "b"), dir("d", 0o755), file("d/.wh.c", "")), "/a/*", "", "*b", true)
	f.Add(layerOf(f, file("a", "x"), symlink("l", "../../l"), file(".wh..wh..opq", "")), "/l/a", "a", "", false)
	f.Fuzz(func(t *testing.T, data []byte, p, include, exclude string, follow bool) {
		layer, err := contenthash.ReadLayer(bytes.NewReader(data))
		if err != nil {
			return
		}
		s := llb.Selection{Path: p, Wildcard: llb.HasWildcard(p), FollowLinks: follow}
		if include != "" {
			s.Include = []string{include}
		}
		if exclude != "" {
			s.Exclude = []string{exclude}
		}
		tree := contenthash.Scratch().With(layer)
		first, err1 := tree.Checksum(s)
		second, err2 := contenthash.Scratch().With(layer).Checksum(s)
		if first != second || (err1 == nil) != (err2 == nil) {
			t.Errorf("%s, %v and %s, %v", first, err1, second, err2)
		}
		tree.With(layer)
		if again, _ := tree.Checksum(s); again != first {
			t.Errorf("a layer over a tree changed the tree: %s, and before %s", again, first)
		}
	})
}

type member struct {
	header tar.Header
	bytes  string
}

func file(name, bytes string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(bytes))}, bytes}
}

func dir(name string, mode int64) member {
	return member{tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: mode}, ""}
}

func symlink(name, to string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}, ""}
}

func link(name, to string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to, Mode: 0o644}, ""}
}

func layerOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if err := w.WriteHeader(&m.header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.bytes)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
