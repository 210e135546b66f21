package inspect_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// corpus is where the caches lie that BuildKit itself exported.
const corpus = "../testdata/caches"

// patient is a copy of a cache of the corpus, with one tag, for damaging.
type patient struct {
	t   *testing.T
	dir string
}

func newPatient(t *testing.T, name string) *patient {
	t.Helper()
	p := &patient{t, filepath.Join(t.TempDir(), name)}
	p.must(os.CopyFS(p.dir, os.DirFS(filepath.Join(corpus, name))))
	p.must(filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			err = os.Chmod(path, 0o644) // blobs can't be written to otherwise
		}
		return err
	}))
	return p
}

func (p *patient) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) open() *layout.Dir {
	p.t.Helper()
	dir, err := layout.Open(p.dir, layout.Options{})
	p.must(err)
	return dir
}

func (p *patient) path(blob digest.Digest) string {
	return filepath.Join(p.dir, "blobs", "sha256", blob.Encoded())
}

func (p *patient) read(blob digest.Digest) []byte {
	p.t.Helper()
	raw, err := os.ReadFile(p.path(blob))
	p.must(err)
	return raw
}

// overwrite gives a blob other bytes than its digest says.
func (p *patient) overwrite(blob digest.Digest, raw []byte) {
	p.t.Helper()
	p.must(os.WriteFile(p.path(blob), raw, 0o644))
}

func (p *patient) remove(blob digest.Digest) {
	p.t.Helper()
	p.must(os.Remove(p.path(blob)))
}

// add stores a blob under its digest.
func (p *patient) add(raw []byte) digest.Digest {
	p.t.Helper()
	blob := digest.FromBytes(raw)
	p.overwrite(blob, raw)
	return blob
}

// replace stores raw in the place of a blob, which goes.
func (p *patient) replace(blob digest.Digest, raw []byte) digest.Digest {
	p.t.Helper()
	p.remove(blob)
	return p.add(raw)
}

// editIndex changes index.json.
func (p *patient) editIndex(change func(*buildcache.Index)) {
	p.t.Helper()
	path := filepath.Join(p.dir, "index.json")
	raw, err := os.ReadFile(path)
	p.must(err)
	index, err := buildcache.ParseIndex(raw)
	p.must(err)
	change(index)
	raw, err = json.Marshal(index)
	p.must(err)
	p.must(os.WriteFile(path, raw, 0o644))
}

// rootDigest returns what the first entry of index.json names.
func (p *patient) rootDigest() (root digest.Digest) {
	p.t.Helper()
	p.editIndex(func(index *buildcache.Index) { root = index.Entries[0].Digest })
	return root
}

func (p *patient) root() *buildcache.Root {
	p.t.Helper()
	root, err := buildcache.ParseRoot(p.read(p.rootDigest()))
	p.must(err)
	return root
}

func (p *patient) config() *buildcache.Config {
	p.t.Helper()
	config, err := buildcache.ParseConfig(p.read(p.root().Config.Digest))
	p.must(err)
	return config
}

// rewriteRoot replaces the root's bytes, so that everything above agrees: its name and index.json.
func (p *patient) rewriteRoot(change func(raw []byte) []byte) digest.Digest {
	p.t.Helper()
	old := p.rootDigest()
	raw := change(p.read(old))
	blob := p.replace(old, raw)
	p.editIndex(func(index *buildcache.Index) { index.Entries[0].Digest, index.Entries[0].Size = blob, int64(len(raw)) })
	return blob
}

// editRoot changes the root, so that everything above agrees.
func (p *patient) editRoot(change func(*buildcache.Root)) {
	p.t.Helper()
	root := p.root()
	change(root)
	p.rewriteRoot(func([]byte) []byte {
		raw, err := json.Marshal(root)
		p.must(err)
		return raw
	})
}

// editLayer changes the descriptor of a layer, wherever the root lists it.
func (p *patient) editLayer(layer digest.Digest, change func(*buildcache.Descriptor)) {
	p.t.Helper()
	p.editRoot(func(root *buildcache.Root) {
		for i := range root.Layers {
			if root.Layers[i].Digest == layer {
				change(&root.Layers[i])
			}
		}
	})
}

// rewriteConfig replaces the config's bytes, so that everything above agrees.
func (p *patient) rewriteConfig(change func(raw []byte) []byte) digest.Digest {
	p.t.Helper()
	old := p.root().Config.Digest
	raw := change(p.read(old))
	blob := p.replace(old, raw)
	p.editRoot(func(root *buildcache.Root) { root.SetConfig(raw) })
	return blob
}

// editConfig changes the config, so that everything above agrees.
func (p *patient) editConfig(change func(*buildcache.Config)) {
	p.t.Helper()
	config := p.config()
	change(config)
	p.rewriteConfig(func([]byte) []byte {
		raw, err := json.Marshal(config)
		p.must(err)
		return raw
	})
}

// editBlob changes the bytes of a layer, so that everything above agrees but the diffID.
func (p *patient) editBlob(layer digest.Digest, change func(raw []byte) []byte) digest.Digest {
	p.t.Helper()
	raw := change(p.read(layer))
	blob := p.replace(layer, raw)
	p.editLayer(layer, func(d *buildcache.Descriptor) { d.Digest, d.Size = blob, int64(len(raw)) })
	p.editConfig(func(config *buildcache.Config) {
		for i := range config.Layers {
			if config.Layers[i].Blob == layer {
				config.Layers[i].Blob = blob
			}
		}
	})
	return blob
}

// editContent changes the tar in a gzip layer, so that everything above agrees, the diffID too.
func (p *patient) editContent(layer digest.Digest, change func(tar []byte) []byte) digest.Digest {
	p.t.Helper()
	var diffID digest.Digest
	blob := p.editBlob(layer, func(raw []byte) []byte {
		r, err := gzip.NewReader(bytes.NewReader(raw))
		p.must(err)
		tar, err := io.ReadAll(r)
		p.must(err)
		tar = change(tar)
		diffID = digest.FromBytes(tar)
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, err = w.Write(tar)
		p.must(errors.Join(err, w.Close()))
		return packed.Bytes()
	})
	p.editLayer(blob, func(d *buildcache.Descriptor) { d.Annotations[buildcache.AnnotationDiffID] = diffID.String() })
	return blob
}

// layer returns a layer that results need and that the root lists once, with more than a few bytes.
func (p *patient) layer() buildcache.Descriptor {
	p.t.Helper()
	root := p.root()
	for _, layer := range root.Layers {
		n := 0
		for _, other := range root.Layers {
			if other.Digest == layer.Digest {
				n++
			}
		}
		if n == 1 && layer.Size > 200 {
			return layer
		}
	}
	p.t.Fatal("there is no such layer")
	return buildcache.Descriptor{}
}

// spare adds a layer that no result needs, and returns its descriptor.
func (p *patient) spare() buildcache.Descriptor {
	p.t.Helper()
	raw := make([]byte, 3<<10) // a tar without files
	blob := p.add(raw)
	d := buildcache.Descriptor{
		MediaType: buildcache.LayerMediaType(buildcache.Artifact, buildcache.Uncompressed), Digest: blob, Size: int64(len(raw)),
		Annotations: map[string]string{buildcache.AnnotationDiffID: blob.String()},
	}
	p.editRoot(func(root *buildcache.Root) { root.Layers = append(root.Layers, d) })
	return d
}

// pad makes JSON longer without changing what it says.
func pad(size int) func([]byte) []byte {
	return func(raw []byte) []byte { return append(raw, bytes.Repeat([]byte(" "), size-len(raw))...) }
}

// flip returns a copy with one bit turned.
func flip(raw []byte, at int) []byte {
	raw = bytes.Clone(raw)
	raw[at] ^= 1
	return raw
}
