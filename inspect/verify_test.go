package inspect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

const (
	fails    = buildcache.BuildFails
	lost     = buildcache.HitsLost
	refuses  = buildcache.RegistryRefuses
	waste    = buildcache.Waste
	severity = buildcache.SeverityError
)

// finding is what is fixed of a problem: all but the words and the blob.
type finding struct {
	kind   buildcache.Kind
	effect buildcache.Effect
	where  string
}

// damages has one way to damage a cache for every kind of problem at least. The function returns the blob that the first
// finding is about.
var damages = []struct {
	name   string
	cache  string // artifact-gzip if it is ""
	deep   bool
	damage func(p *patient) digest.Digest
	want   []finding
}{
	{"root missing", "", false, func(p *patient) digest.Digest {
		root := p.rootDigest()
		p.remove(root)
		return root
	}, []finding{{buildcache.RootMissing, lost, "root"}, {buildcache.Unreachable, waste, "blobs"}}},
	{"root altered", "", false, func(p *patient) digest.Digest {
		root := p.rootDigest()
		p.overwrite(root, append(p.read(root), ' '))
		return root
	}, []finding{{buildcache.RootDamaged, lost, "root"}}},
	{"root cut", "", false, func(p *patient) digest.Digest {
		root := p.rootDigest()
		p.overwrite(root, p.read(root)[:100])
		return root
	}, []finding{{buildcache.RootDamaged, lost, "root"}, {buildcache.RootInvalid, lost, "root"}, {buildcache.Unreachable, waste, "blobs"}}},
	{"root empty", "", false, func(p *patient) digest.Digest {
		root := p.rootDigest()
		p.overwrite(root, nil)
		return root
	}, []finding{{buildcache.RootDamaged, lost, "root"}, {buildcache.RootInvalid, lost, "root"}, {buildcache.Unreachable, waste, "blobs"}}},
	{"root ambiguous", "", false, func(p *patient) digest.Digest {
		return p.rewriteRoot(func(raw []byte) []byte { return bytes.Replace(raw, []byte(`{`), []byte(`{"manifests":null,`), 1) })
	}, []finding{{buildcache.RootInvalid, lost, "root"}, {buildcache.Unreachable, waste, "blobs"}}},
	{"root of another mediaType", "", false, func(p *patient) digest.Digest {
		return p.rewriteRoot(func(raw []byte) []byte {
			return bytes.Replace(raw, []byte(buildcache.MediaTypeOCIManifest), []byte(buildcache.MediaTypeOCIIndex), 1)
		})
	}, []finding{{buildcache.RootInvalid, lost, "root"}, {buildcache.Unreachable, waste, "blobs"}}},
	{"root above 1 MiB", "", false, func(p *patient) digest.Digest {
		p.rewriteRoot(pad(buildcache.MaxImport + 1))
		return ""
	}, []finding{{buildcache.RootTooLarge, lost, "root"}}},
	{"root above 4 MiB", "", false, func(p *patient) digest.Digest {
		return p.rewriteRoot(pad(buildcache.MaxRoot + 1))
	}, []finding{{buildcache.RootTooLarge, lost, "root"}, {buildcache.Unreachable, waste, "blobs"}}},
	{"root without mediaType", "", false, func(p *patient) digest.Digest {
		p.rewriteRoot(func(raw []byte) []byte {
			return bytes.Replace(raw, []byte(`"mediaType":"`+buildcache.MediaTypeOCIManifest+`",`), nil, 1)
		})
		return ""
	}, []finding{{buildcache.RootNoMediaType, refuses, "root"}}},
	{"root without layers", "", false, func(p *patient) digest.Digest {
		for blob := range p.root().LayersByDigest() {
			p.remove(blob)
		}
		p.editConfig(func(config *buildcache.Config) { config.Layers, config.Records = nil, nil })
		p.editRoot(func(root *buildcache.Root) { root.Layers = nil })
		return ""
	}, []finding{{buildcache.RootNoLayers, refuses, "root"}, {buildcache.NoResults, lost, "config"}}},
	{"root's digest malformed", "", false, func(p *patient) digest.Digest {
		p.editIndex(func(index *buildcache.Index) { index.Entries[0].Digest = "sha256:../../../../etc/passwd" })
		return "sha256:../../../../etc/passwd"
	}, []finding{{buildcache.DigestInvalid, lost, "root"}, {buildcache.Unreachable, waste, "blobs"}}},

	{"config missing", "", false, func(p *patient) digest.Digest {
		config := p.root().Config.Digest
		p.remove(config)
		return config
	}, []finding{{buildcache.ConfigMissing, lost, "config"}}},
	{"config's digest malformed", "", false, func(p *patient) digest.Digest {
		p.remove(p.root().Config.Digest)
		p.editRoot(func(root *buildcache.Root) { root.Config.Digest = "sha256:x" })
		return "sha256:x"
	}, []finding{{buildcache.ConfigMissing, lost, "root.config"}}},
	{"config altered", "", false, func(p *patient) digest.Digest {
		config := p.root().Config.Digest
		p.overwrite(config, append(p.read(config), ' '))
		return config
	}, []finding{{buildcache.ConfigDamaged, lost, "config"}}},
	{"config cut", "", false, func(p *patient) digest.Digest {
		config := p.root().Config.Digest
		p.overwrite(config, p.read(config)[:100])
		return config
	}, []finding{{buildcache.ConfigDamaged, lost, "config"}, {buildcache.ConfigInvalid, lost, "config"}}},
	{"config with a time that is none", "", false, func(p *patient) digest.Digest {
		return p.rewriteConfig(func(raw []byte) []byte {
			return bytes.Replace(raw, []byte(`"createdAt":"2`), []byte(`"createdAt":"x`), 1)
		})
	}, []finding{{buildcache.ConfigInvalid, lost, "config"}}},
	{"config above 1 MiB", "", false, func(p *patient) digest.Digest {
		return p.rewriteConfig(pad(buildcache.MaxImport + 1))
	}, []finding{{buildcache.ConfigTooLarge, lost, "config"}}},
	{"config above 16 MiB", "", false, func(p *patient) digest.Digest {
		return p.rewriteConfig(pad(buildcache.MaxConfig + 1))
	}, []finding{{buildcache.ConfigTooLarge, lost, "config"}}},
	{"config of another size", "", false, func(p *patient) digest.Digest {
		p.editRoot(func(root *buildcache.Root) { root.Config.Size++ })
		return p.root().Config.Digest
	}, []finding{{buildcache.BlobSize, refuses, "root.config"}}},
	{"two configs in a list", "docker-list-gzip", false, func(p *patient) digest.Digest {
		other := p.add([]byte("{}"))
		p.rewriteRoot(func(raw []byte) []byte {
			entry := fmt.Sprintf(`"manifests":[{"mediaType":%q,"digest":%q,"size":2},`, buildcache.MediaTypeConfig, other)
			return bytes.Replace(raw, []byte(`"manifests":[`), []byte(entry), 1)
		})
		return other
	}, []finding{{buildcache.ConfigRepeated, waste, "root"}}},
	{"config among the layers", "", false, func(p *patient) digest.Digest {
		config := p.root().Config
		p.editRoot(func(root *buildcache.Root) { root.Layers = append([]buildcache.Descriptor{config}, root.Layers...) })
		return config.Digest
	}, []finding{{buildcache.ConfigMisplaced, waste, "root.layers[0]"}}},

	{"link to nowhere", "", false, func(p *patient) digest.Digest {
		p.editConfig(func(config *buildcache.Config) {
			config.Records[0].Inputs = [][]buildcache.Input{{{Link: len(config.Records)}}}
		})
		return ""
	}, []finding{{buildcache.RecordLinkRange, lost, "config.records[0]"}}},
	{"links in a circle", "", false, func(p *patient) digest.Digest {
		p.editConfig(func(config *buildcache.Config) {
			config.Records[0].Inputs = [][]buildcache.Input{{{Link: 0}}}
		})
		return ""
	}, []finding{{buildcache.RecordLoop, lost, "config.records[0]"}}},
	{"input without alternatives", "", false, func(p *patient) digest.Digest {
		p.editConfig(func(config *buildcache.Config) {
			config.Records[0].Inputs = append(config.Records[0].Inputs, []buildcache.Input{})
		})
		return ""
	}, []finding{{buildcache.RecordEmptyInput, lost, "config.records[0]"}}},
	{"link to a random record", "", false, func(p *patient) digest.Digest {
		p.editConfig(func(config *buildcache.Config) {
			random := len(config.Records)
			config.Records = append(config.Records, buildcache.Record{Digest: "random:x"},
				buildcache.Record{Digest: digest.FromString("r"), Inputs: [][]buildcache.Input{{{Link: random}}}})
		})
		return ""
	}, []finding{{buildcache.RecordRandomLink, lost, "config.records[24]"}}},
	{"record without a cache key", "", false, func(p *patient) digest.Digest {
		p.editConfig(func(config *buildcache.Config) {
			config.Records = append(config.Records, buildcache.Record{Results: []buildcache.Result{{Layer: 0}}})
		})
		return ""
	}, []finding{{buildcache.RecordDigest, lost, "config.records[23]"}}},
	{"no results", "multi-platform", false, func(p *patient) digest.Digest {
		for blob := range p.root().LayersByDigest() {
			p.remove(blob)
		}
		p.editRoot(func(root *buildcache.Root) { root.Layers = root.Layers[:0] })
		p.editConfig(func(config *buildcache.Config) {
			config.Layers = nil
			for i := range config.Records {
				config.Records[i].Results = nil
			}
		})
		return ""
	}, []finding{{buildcache.RootNoLayers, refuses, "root"}, {buildcache.NoResults, lost, "config"}}},

	{"result on no layer", "", false, func(p *patient) digest.Digest {
		p.editConfig(func(config *buildcache.Config) {
			config.Records[0].Results = append(config.Records[0].Results, buildcache.Result{Layer: len(config.Layers)})
		})
		return ""
	}, []finding{{buildcache.LayerIndexRange, lost, "config.records[0]"}}},
	{"layer on itself", "", false, func(p *patient) digest.Digest {
		p.editConfig(func(config *buildcache.Config) {
			layer := len(config.Layers)
			config.Layers = append(config.Layers, buildcache.Layer{Blob: config.Layers[0].Blob, Parent: layer})
			config.Records[0].Results = append(config.Records[0].Results, buildcache.Result{Layer: layer})
		})
		return ""
	}, []finding{{buildcache.LayerLoop, lost, "config.records[0]"}}},
	{"layers[].blob not rewritten", "", false, func(p *patient) digest.Digest {
		p.editConfig(func(config *buildcache.Config) {
			layer := len(config.Layers)
			config.Layers = append(config.Layers, buildcache.Layer{Blob: digest.FromString("old"), Parent: buildcache.NoParent})
			config.Records = append(config.Records, buildcache.Record{Digest: digest.FromString("r"), Results: []buildcache.Result{{Layer: layer}}})
		})
		return ""
	}, []finding{{buildcache.LayerUnlisted, lost, "config.records[23]"}}},
	{"layer that nothing needs", "", true, func(p *patient) digest.Digest {
		return p.spare().Digest
	}, []finding{{buildcache.LayerUnused, waste, "root.layers[16]"}}},
	{"no diffID", "", false, func(p *patient) digest.Digest {
		layer := p.layer()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) { delete(d.Annotations, buildcache.AnnotationDiffID) })
		return layer.Digest
	}, []finding{{buildcache.LayerNoDiffID, lost, "root.layers[0]"}}},
	{"wrong diffID", "", true, func(p *patient) digest.Digest {
		layer := p.layer()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) {
			d.Annotations[buildcache.AnnotationDiffID] = digest.FromString("another").String()
		})
		return layer.Digest
	}, []finding{{buildcache.LayerDiffID, fails, "root.layers[0]"}}},
	{"wrong diffID of an unneeded layer", "", true, func(p *patient) digest.Digest {
		layer := p.spare()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) {
			d.Annotations[buildcache.AnnotationDiffID] = digest.FromString("another").String()
		})
		return layer.Digest
	}, []finding{{buildcache.LayerUnused, waste, "root.layers[16]"}, {buildcache.LayerDiffID, waste, "root.layers[16]"}}},
	{"wrong diffID goes unseen", "", false, func(p *patient) digest.Digest {
		p.editLayer(p.layer().Digest, func(d *buildcache.Descriptor) {
			d.Annotations[buildcache.AnnotationDiffID] = digest.FromString("another").String()
		})
		return ""
	}, nil},
	{"age that is no time", "", false, func(p *patient) digest.Digest {
		layer := p.layer()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) { d.Annotations[buildcache.AnnotationCreatedAt] = "yesterday" })
		return layer.Digest
	}, []finding{{buildcache.LayerCreatedAt, lost, "root.layers[0]"}}},
	{"media type of no layer", "", true, func(p *patient) digest.Digest {
		layer := p.layer()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) { d.MediaType = "application/octet-stream" })
		return layer.Digest
	}, []finding{{buildcache.LayerMediaTypeBad, fails, "root.layers[0]"}}},
	{"gzip as zstd", "", true, func(p *patient) digest.Digest {
		layer := p.layer()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) {
			d.MediaType = buildcache.LayerMediaType(buildcache.Artifact, buildcache.Zstd)
		})
		return layer.Digest
	}, []finding{{buildcache.LayerMislabelled, waste, "root.layers[0]"}}},
	{"gzip as Docker's plain tar", "docker-list-gzip", true, func(p *patient) digest.Digest {
		layer := p.layer()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) {
			d.MediaType = buildcache.LayerMediaType(buildcache.DockerList, buildcache.Uncompressed)
		})
		return layer.Digest
	}, []finding{{buildcache.LayerMislabelled, waste, "root.layers[0]"}}},
	{"plain tar as gzip", "artifact-uncompressed", true, func(p *patient) digest.Digest {
		layer := p.layer()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) {
			d.MediaType = buildcache.LayerMediaType(buildcache.Artifact, buildcache.Gzip)
		})
		return layer.Digest
	}, []finding{{buildcache.LayerMislabelled, waste, "root.layers[0]"}}},
	{"gzip as OCI's plain tar", "", true, func(p *patient) digest.Digest {
		layer := p.layer()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) {
			d.MediaType = buildcache.LayerMediaType(buildcache.Artifact, buildcache.Uncompressed)
		})
		return layer.Digest
	}, []finding{{buildcache.LayerUnreadable, fails, "root.layers[0]"}}},
	{"gzip that does not unpack", "", true, func(p *patient) digest.Digest {
		return p.editBlob(p.layer().Digest, func(raw []byte) []byte { return flip(raw, len(raw)-6) })
	}, []finding{{buildcache.LayerUnreadable, fails, "root.layers[0]"}}},
	{"zstd that does not unpack", "artifact-zstd", true, func(p *patient) digest.Digest {
		return p.editBlob(p.layer().Digest, func(raw []byte) []byte { return raw[:len(raw)-1] })
	}, []finding{{buildcache.LayerUnreadable, fails, "root.layers[0]"}}},
	{"estargz whose end is gone", "artifact-estargz", true, func(p *patient) digest.Digest {
		return p.editBlob(p.layer().Digest, func(raw []byte) []byte { return raw[:len(raw)-60] })
	}, []finding{{buildcache.LayerUnreadable, fails, "root.layers[0]"}}},
	{"half a tar with the right diffID", "", true, func(p *patient) digest.Digest {
		return p.editContent(p.layer().Digest, func(tar []byte) []byte { return tar[:700] })
	}, []finding{{buildcache.LayerUnreadable, fails, "root.layers[0]"}}},
	{"tar without an end marker", "", true, func(p *patient) digest.Digest {
		p.editContent(p.layer().Digest, func(tar []byte) []byte { return bytes.TrimRight(tar, "\x00") })
		return ""
	}, nil},
	{"gzip that does not unpack, without a diffID", "", true, func(p *patient) digest.Digest {
		blob := p.editBlob(p.layer().Digest, func(raw []byte) []byte { return flip(raw, len(raw)-6) })
		p.editLayer(blob, func(d *buildcache.Descriptor) { delete(d.Annotations, buildcache.AnnotationDiffID) })
		return blob
	}, []finding{{buildcache.LayerNoDiffID, lost, "root.layers[0]"}, {buildcache.LayerUnreadable, fails, "root.layers[0]"}}},
	{"gzip with something behind its end", "", true, func(p *patient) digest.Digest {
		return p.editBlob(p.layer().Digest, func(raw []byte) []byte { return append(raw, 0) })
	}, []finding{{buildcache.LayerUnreadable, fails, "root.layers[0]"}}},
	{"wrong digest of a table of contents", "artifact-estargz", true, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.editLayer(layer, func(d *buildcache.Descriptor) { d.Annotations[buildcache.AnnotationTOCDigest] = layer.String() })
		return layer
	}, []finding{{buildcache.LayerTOC, waste, "root.layers[0]"}}},
	{"wrong uncompressed size", "artifact-estargz", true, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.editLayer(layer, func(d *buildcache.Descriptor) { d.Annotations[buildcache.AnnotationUncompressedSize] = "1" })
		return layer
	}, []finding{{buildcache.LayerTOC, waste, "root.layers[0]"}}},
	{"table of contents of a layer that has none", "", true, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.editLayer(layer, func(d *buildcache.Descriptor) { d.Annotations[buildcache.AnnotationTOCDigest] = layer.String() })
		return layer
	}, []finding{{buildcache.LayerTOC, waste, "root.layers[0]"}}},
	{"gzip that does not unpack goes unseen", "", false, func(p *patient) digest.Digest {
		p.editBlob(p.layer().Digest, func(raw []byte) []byte { return flip(raw, len(raw)-6) })
		return ""
	}, nil},
	{"layer not distributable", "", true, func(p *patient) digest.Digest {
		layer := p.layer()
		p.editLayer(layer.Digest, func(d *buildcache.Descriptor) {
			d.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
		})
		return layer.Digest
	}, []finding{{buildcache.LayerForeign, refuses, "root.layers[0]"}}},
	{"descriptors that disagree", "", true, func(p *patient) digest.Digest {
		layer := p.layer()
		wrong := layer.Clone()
		wrong.Size++
		p.editRoot(func(root *buildcache.Root) { root.Layers = append([]buildcache.Descriptor{wrong}, root.Layers...) })
		return layer.Digest
	}, []finding{{buildcache.LayerConflict, waste, "root.layers[0]"}}},
	{"layer's digest malformed", "", false, func(p *patient) digest.Digest {
		const bad = "sha256:../../../index.json"
		p.editRoot(func(root *buildcache.Root) {
			d := root.Layers[0].Clone()
			d.Digest = bad
			root.Layers = append(root.Layers, d)
		})
		p.editConfig(func(config *buildcache.Config) {
			config.Layers = append(config.Layers, buildcache.Layer{Blob: bad, Parent: buildcache.NoParent})
			config.Records[0].Results = append(config.Records[0].Results, buildcache.Result{Layer: len(config.Layers) - 1})
		})
		return bad
	}, []finding{{buildcache.DigestInvalid, fails, "root.layers[16]"}}},

	{"layer missing", "", false, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.remove(layer)
		return layer
	}, []finding{{buildcache.BlobMissing, fails, "root.layers[0]"}}},
	{"unneeded layer missing", "", false, func(p *patient) digest.Digest {
		layer := p.spare().Digest
		p.remove(layer)
		return layer
	}, []finding{{buildcache.LayerUnused, waste, "root.layers[16]"}, {buildcache.BlobMissing, refuses, "root.layers[16]"}}},
	{"wrong size", "", true, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.editLayer(layer, func(d *buildcache.Descriptor) { d.Size-- })
		return layer
	}, []finding{{buildcache.BlobSize, fails, "root.layers[0]"}}},
	{"wrong size of an unneeded layer", "", false, func(p *patient) digest.Digest {
		layer := p.spare().Digest
		p.editLayer(layer, func(d *buildcache.Descriptor) { d.Size-- })
		return layer
	}, []finding{{buildcache.LayerUnused, waste, "root.layers[16]"}, {buildcache.BlobSize, refuses, "root.layers[16]"}}},
	{"layer altered", "", false, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.overwrite(layer, flip(p.read(layer), 100))
		return layer
	}, []finding{{buildcache.BlobDamaged, fails, "root.layers[0]"}}},
	{"layer altered, unpacked", "", true, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.overwrite(layer, flip(p.read(layer), 100))
		return layer
	}, []finding{{buildcache.BlobDamaged, fails, "root.layers[0]"}}},
	{"layer cut", "", true, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.overwrite(layer, p.read(layer)[:50])
		return layer
	}, []finding{{buildcache.BlobDamaged, fails, "root.layers[0]"}}},
	{"layer longer", "", true, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.overwrite(layer, append(p.read(layer), "more"...))
		return layer
	}, []finding{{buildcache.BlobSize, fails, "root.layers[0]"}}},
	{"layer emptied", "artifact-zstd", true, func(p *patient) digest.Digest {
		layer := p.layer().Digest
		p.overwrite(layer, nil)
		return layer
	}, []finding{{buildcache.BlobDamaged, fails, "root.layers[0]"}}},
	{"unneeded layer altered", "", false, func(p *patient) digest.Digest {
		layer := p.spare().Digest
		p.overwrite(layer, flip(p.read(layer), 5))
		return layer
	}, []finding{{buildcache.LayerUnused, waste, "root.layers[16]"}, {buildcache.BlobDamaged, fails, "root.layers[16]"}}},
	{"unreached blob altered", "", false, func(p *patient) digest.Digest {
		blob := p.add([]byte("nobody reaches this"))
		p.overwrite(blob, []byte("nobody reaches that"))
		return blob
	}, []finding{{buildcache.BlobDamaged, fails, "blobs"}, {buildcache.Unreachable, waste, "blobs"}}},

	{"index.json cut", "", false, func(p *patient) digest.Digest {
		p.must(os.Truncate(filepath.Join(p.dir, "index.json"), 50))
		return ""
	}, []finding{{buildcache.IndexInvalid, lost, "index.json"}}},
	{"index.json not cut to its new length", "", false, func(p *patient) digest.Digest {
		path := filepath.Join(p.dir, "index.json")
		raw, err := os.ReadFile(path)
		p.must(err)
		p.must(os.WriteFile(path, append(raw, raw[len(raw)-20:]...), 0o644))
		return ""
	}, []finding{{buildcache.IndexInvalid, lost, "index.json"}}},
	{"tag taken by another", "multi-tag", false, func(p *patient) digest.Digest {
		var second digest.Digest
		p.editIndex(func(index *buildcache.Index) {
			second = index.Entries[1].Digest
			index.Entries[1].Annotations = index.Entries[0].Annotations
		})
		return second
	}, []finding{{buildcache.TagShadowed, lost, "index.json manifests[1]"}}},
	{"no tag", "", false, func(p *patient) digest.Digest {
		p.editIndex(func(index *buildcache.Index) { index.Entries[0].Annotations = nil })
		return p.rootDigest()
	}, []finding{{buildcache.Untagged, lost, "index.json manifests[0]"}}},
	{"blob that no tag reaches", "", false, func(p *patient) digest.Digest {
		p.add([]byte("nobody reaches this"))
		return ""
	}, []finding{{buildcache.Unreachable, waste, "blobs"}}},
	{"interrupted write", "", false, func(p *patient) digest.Digest {
		p.must(os.MkdirAll(filepath.Join(p.dir, "ingest", "0123"), 0o755))
		return ""
	}, []finding{{buildcache.Leftover, waste, "*"}}},
	{"damaged image", "inline-image", false, func(p *patient) digest.Digest {
		blob := p.rootDigest()
		p.editIndex(func(index *buildcache.Index) { index.Entries[0].Size++ }) // nobody looks at it
		layers := buildcache.Successors(p.read(blob))
		p.overwrite(layers[0].Digest, flip(p.read(layers[0].Digest), 20))
		return layers[0].Digest
	}, []finding{{buildcache.BlobDamaged, fails, "image sha256:abd69b3058504bbcbc011da4a46957482a0e3efbaf530e5ac525f5b7255badd0"}}},
	{"cache in an index", "artifact-gzip", false, func(p *patient) digest.Digest {
		root := p.rootDigest()
		index := p.add([]byte(fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
			ocispec.MediaTypeImageManifest, root, len(p.read(root)))))
		p.editIndex(func(x *buildcache.Index) {
			x.Entries[0].MediaType, x.Entries[0].Digest, x.Entries[0].Size = ocispec.MediaTypeImageIndex, index, int64(len(p.read(index)))
		})
		return root
	}, []finding{{buildcache.CacheInIndex, lost, "index"}}},
	{"incomplete image", "inline-image", false, func(p *patient) digest.Digest {
		layers := buildcache.Successors(p.read(p.rootDigest()))
		p.remove(layers[0].Digest)
		return layers[0].Digest
	}, []finding{{buildcache.BlobMissing, fails, "image sha256:abd69b3058504bbcbc011da4a46957482a0e3efbaf530e5ac525f5b7255badd0"}}},
}

func TestVerifyDamaged(t *testing.T) {
	t.Parallel()
	for _, tt := range damages {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			name := tt.cache
			if name == "" {
				name = "artifact-gzip"
			}
			p := newPatient(t, name)
			blob := tt.damage(p)
			report, err := inspect.VerifyAll(t.Context(), p.open(), inspect.Options{Deep: tt.deep})
			if err != nil {
				t.Fatalf("it could not be found out: %v", err)
			}
			var got []finding
			for _, problem := range report.Problems {
				where := problem.Where
				if problem.Kind == buildcache.Leftover {
					where = "*" // a path
				}
				got = append(got, finding{problem.Kind, problem.Effect, where})
				if want := problem.Effect == fails || problem.Effect == lost; (problem.Severity == severity) != want {
					t.Errorf("%s, which means %s, is of severity %s", problem.Kind, problem.Effect, problem.Severity)
				}
				if problem.Detail == "" || problem.Remedy == "" {
					t.Errorf("%+v", problem)
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("got  %v\nwant %v\n%+v", got, tt.want, report.Problems)
			}
			for _, problem := range report.Problems {
				if problem.Kind == tt.want[0].kind && problem.Digest != blob {
					t.Errorf("%s is about %q, want %q", problem.Kind, problem.Digest, blob)
				}
			}
		})
	}
}

// ofProfiles are the kinds that only further checks produce, those of a registry and of keys. They are tested where the checks are.
var ofProfiles = []buildcache.Kind{
	buildcache.RegistryForm, buildcache.RegistryConfigType, buildcache.RegistryRootSize, buildcache.RegistryLayerSize,
	buildcache.KeysOutdated, buildcache.VolumeLost,
}

// TestEveryKindIsProduced wants a damaged cache for each kind of problem.
func TestEveryKindIsProduced(t *testing.T) {
	t.Parallel()
	for _, info := range buildcache.Kinds() {
		produced := slices.Contains(ofProfiles, info.Kind)
		for _, tt := range damages {
			produced = produced || slices.ContainsFunc(tt.want, func(f finding) bool { return f.kind == info.Kind })
		}
		if !produced {
			t.Errorf("nothing in the table produces %s", info.Kind)
		}
	}
}

// TestVerifyCorpus wants nothing but what is known of BuildKit's own exports.
func TestVerifyCorpus(t *testing.T) {
	t.Parallel()
	known := map[string][]finding{
		"dangling-index": {{buildcache.RootMissing, lost, "root"}, {buildcache.Unreachable, waste, "blobs"}},
		"stale-blobs":    {{buildcache.Unreachable, waste, "blobs"}},
	}
	names, err := os.ReadDir(corpus)
	if err != nil || len(names) < 19 {
		t.Fatal(len(names), err)
	}
	for _, name := range names {
		t.Run(name.Name(), func(t *testing.T) {
			t.Parallel()
			for _, deep := range []bool{false, true} {
				report, err := inspect.VerifyAll(t.Context(), openCorpus(t, name.Name()), inspect.Options{Deep: deep})
				if err != nil {
					t.Fatal(err)
				}
				var got []finding
				for _, problem := range report.Problems {
					got = append(got, finding{problem.Kind, problem.Effect, problem.Where})
				}
				if !reflect.DeepEqual(got, known[name.Name()]) {
					t.Errorf("deep: %v: %+v", deep, report.Problems)
				}
				caches, others := 1, 0
				switch name.Name() {
				case "inline-image":
					caches, others = 0, 1
				case "multi-tag":
					caches = 2
				}
				if report.Caches != caches || report.Others != others {
					t.Errorf("%d caches and %d others, want %d and %d", report.Caches, report.Others, caches, others)
				}
			}
		})
	}
}

func openCorpus(t *testing.T, name string) *layout.Dir {
	t.Helper()
	dir, err := layout.Open(filepath.Join(corpus, name), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestVerifyIsDeterministic wants the same report, whatever is done at once.
func TestVerifyIsDeterministic(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "docker-list-gzip")
	for i, layer := range p.root().Layers {
		if i%3 == 0 {
			p.overwrite(layer.Digest, flip(p.read(layer.Digest), 10))
		}
	}
	var want []buildcache.Problem
	for _, jobs := range []int{0, 1, 2, 16} {
		report, err := inspect.VerifyAll(t.Context(), p.open(), inspect.Options{Deep: true, Jobs: jobs})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = report.Problems
		}
		if len(want) < 4 || !reflect.DeepEqual(report.Problems, want) {
			t.Errorf("with %d jobs: %+v\nwant %+v", jobs, report.Problems, want)
		}
	}
}

func TestVerifyTag(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "multi-tag")
	first, second := p.root(), digest.Digest("")
	p.editIndex(func(index *buildcache.Index) { second = index.Entries[1].Digest })
	p.overwrite(first.Config.Digest, []byte("{}"))
	p.add([]byte("nobody reaches this"))

	report, err := inspect.VerifyTag(t.Context(), p.open(), "v1", inspect.Options{})
	if err != nil || report.Caches != 1 || len(report.Problems) == 0 || report.Problems[0].Kind != buildcache.ConfigDamaged || report.Problems[0].Cache != "v1" {
		t.Errorf("v1: %+v, %v", report, err)
	}
	report, err = inspect.VerifyTag(t.Context(), p.open(), "v2", inspect.Options{Deep: true})
	if err != nil || report.Caches != 1 || len(report.Problems) != 0 || report.Problems == nil {
		t.Errorf("v2: %+v, %v", report, err)
	}
	var notFound *layout.NotFoundError
	if _, err = inspect.VerifyTag(t.Context(), p.open(), "v3", inspect.Options{}); !errors.As(err, &notFound) {
		t.Errorf("v3: %v", err)
	}
	if _, err = inspect.VerifyTag(t.Context(), openCorpus(t, "inline-image"), "1", inspect.Options{}); !errors.As(err, &notFound) || !notFound.Images {
		t.Errorf("an image: %v", err)
	}
	p.remove(second)
	report, err = inspect.VerifyTag(t.Context(), p.open(), "v2", inspect.Options{})
	if err != nil || len(report.Problems) != 1 || report.Problems[0].Kind != buildcache.RootMissing {
		t.Errorf("v2 without its root: %+v, %v", report, err)
	}
}

func TestVerifyChecks(t *testing.T) {
	t.Parallel()
	further := buildcache.NewProblem(buildcache.RootNoLayers, "root", "the registry of the test refuses it")
	check := func(cache *layout.Cache) []buildcache.Problem {
		if cache.Root.Form != buildcache.Artifact || len(cache.RawConfig) == 0 {
			t.Errorf("got %+v", cache)
		}
		return []buildcache.Problem{further}
	}
	options := inspect.Options{Checks: []func(*layout.Cache) []buildcache.Problem{check, check}}
	report, err := inspect.VerifyTag(t.Context(), openCorpus(t, "artifact-zstd"), "latest", options)
	if err != nil {
		t.Fatal(err)
	}
	further.Cache = "latest"
	if want := []buildcache.Problem{further, further}; !reflect.DeepEqual(report.Problems, want) {
		t.Errorf("got  %+v\nwant %+v", report.Problems, want)
	}
}

// TestVerifyEvents adds up what is reported of the progress.
func TestVerifyEvents(t *testing.T) {
	t.Parallel()
	dir := openCorpus(t, "docker-list-gzip")
	blobs, err := dir.Blobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[digest.Digest]int64{}
	for _, blob := range blobs {
		want[blob.Digest] = blob.Size
	}
	found, err := layout.Survey(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := layout.Load(t.Context(), dir, found[0])
	if err != nil {
		t.Fatal(err)
	}
	delete(want, cache.Descriptor.Digest) // no layers
	delete(want, cache.Root.Config.Digest)

	var mu sync.Mutex
	got, started, done, planned := map[digest.Digest]int64{}, 0, 0, int64(0)
	handler := func(e layout.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch e.Kind {
		case layout.EventPlan:
			planned += e.Total
		case layout.EventStart:
			started++
		case layout.EventBytes:
			got[e.Digest] += e.Bytes
		case layout.EventDone:
			done++
		case layout.EventRetry:
			t.Error("a directory was asked again")
		}
		if e.Verb != "verify" {
			t.Errorf("the verb is %q", e.Verb)
		}
	}
	if _, err := inspect.VerifyAll(t.Context(), dir, inspect.Options{Deep: true, OnEvent: handler}); err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, size := range want {
		total += size
	}
	if !reflect.DeepEqual(got, want) || started != len(want) || done != len(want) || planned != total {
		t.Errorf("%d blobs of %d begun, %d done, %d bytes of %d planned\ngot  %v\nwant %v", started, len(want), done, planned, total, got, want)
	}
}

func TestVerifyIsInterrupted(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	options := inspect.Options{Deep: true, Jobs: 1, OnEvent: func(e layout.Event) {
		if e.Kind == layout.EventStart {
			cancel(stop)
		}
	}}
	if report, err := inspect.VerifyAll(ctx, openCorpus(t, "many-docker-list-gzip"), options); !errors.Is(err, stop) {
		t.Errorf("got %+v, %v", report, err)
	}
}

// endless is a place whose one layer never ends.
type endless struct {
	memory
	layer digest.Digest
}

func (e endless) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if blob.Digest == e.layer {
		return io.NopCloser(zeroReader{}), nil
	}
	return e.memory.Open(ctx, blob)
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestVerifyIsInterruptedWithinABlob would not end otherwise.
func TestVerifyIsInterruptedWithinABlob(t *testing.T) {
	t.Parallel()
	place, entry := manyLayers(t, 1)
	root, err := buildcache.ParseRoot(place[entry.Descriptor.Digest])
	if err != nil {
		t.Fatal(err)
	}
	for _, deep := range []bool{false, true} {
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		options := inspect.Options{Deep: deep, OnEvent: func(e layout.Event) {
			if e.Kind == layout.EventBytes {
				cancel(stop)
			}
		}}
		src := endless{place, root.Layers[0].Digest}
		if problems, err := inspect.Verify(ctx, src, entry, options); !errors.Is(err, stop) {
			t.Errorf("got %+v, %v", problems, err)
		}
	}
}

// TestManyTags verifies a root once, however many tags it has, and reports what is wrong for each of them.
func TestManyTags(t *testing.T) {
	t.Parallel()
	const tags = 2000
	path := filepath.Join(t.TempDir(), "cache")
	if err := os.CopyFS(path, os.DirFS("../testdata/caches/artifact-gzip")); err != nil {
		t.Fatal(err)
	}
	dir, err := layout.Open(path, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := dir.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []layout.Tagging
	for i := range tags {
		all = append(all, layout.Tagging{Tag: fmt.Sprint("tag-", i), Root: entries[0].Descriptor})
	}
	if err := dir.TagAll(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	cache, err := layout.Load(t.Context(), dir, entries[0])
	if err != nil {
		t.Fatal(err)
	}
	gone := cache.Root.Layers[0].Digest
	if err := os.Remove(filepath.Join(path, "blobs", "sha256", gone.Encoded())); err != nil {
		t.Fatal(err)
	}
	src := layouttest.Count(dir)
	announced := 0
	var mu sync.Mutex
	report, err := inspect.VerifyAll(t.Context(), src, inspect.Options{Deep: true, OnEvent: func(e layout.Event) {
		mu.Lock()
		defer mu.Unlock()
		announced += e.Count
	}})
	if err != nil || report.Caches != tags+1 || len(report.Problems) != tags+1 {
		t.Fatalf("%d caches with %d problems, %v", report.Caches, len(report.Problems), err)
	}
	for i, p := range report.Problems {
		want := fmt.Sprint("tag-", i-1)
		if i == 0 {
			want = entries[0].Tag
		}
		if p.Cache != want || p.Digest != gone {
			t.Fatalf("problem %d is about %s of %q, want %q", i, p.Digest, p.Cache, want)
		}
	}
	for blob, n := range src.Opens {
		if n > 4 {
			t.Errorf("%s was opened %d times", blob, n)
		}
	}
	if want := len(cache.Root.LayersByDigest()); announced != want {
		t.Errorf("%d blobs were announced, want %d", announced, want)
	}
}

// TestUnnamedIsUnpacked recommends no cache to be named whose layers were unpacked, and can't be.
func TestUnnamedIsUnpacked(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "artifact-gzip")
	p.editContent(p.layer().Digest, func(tar []byte) []byte { return tar[:700] })
	root := p.rootDigest()
	p.editIndex(func(index *buildcache.Index) { index.Entries = nil })
	for _, deep := range []bool{false, true} {
		report, err := inspect.VerifyAll(t.Context(), p.open(), inspect.Options{Deep: deep})
		if err != nil {
			t.Fatal(err)
		}
		named := slices.ContainsFunc(report.Unnamed, func(c layout.UnnamedCache) bool { return c.Digest == root })
		if named == deep {
			t.Errorf("deep %v: it is listed: %v", deep, named)
		}
	}
}
