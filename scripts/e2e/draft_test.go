//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// draft is a cache taken apart, to be put together again with something odd in
// it. Whoever edits it changes index, root and config in place. Their digests
// and sizes follow when it is sealed, so that nothing else is wrong with it.
type draft struct {
	*fixture
	dir string

	index, root, config    jsonObject
	rootEntry, configEntry jsonObject // the descriptors in index and root

	encode                   func(t *testing.T, v any) []byte // gives root and config their bytes
	rootSealed, configSealed bool
	indexBytes               []byte // what index.json gets instead of index, if not nil
}

func (f *fixture) draft(t *testing.T) *draft {
	t.Helper()
	d := &draft{fixture: f, dir: f.copy(t), encode: marshal}
	d.index = readObject(t, d.file("index.json"))
	for _, entry := range objects(t, d.index["manifests"]) {
		if annotations(t, entry)[tagKey] == f.tagName() {
			d.rootEntry = entry
		}
	}
	d.root = d.takeOut(t, d.rootEntry)
	if config, ok := d.root["config"].(jsonObject); ok {
		d.configEntry = config
	} else {
		entries := objects(t, d.root["manifests"])
		d.configEntry = entries[len(entries)-1]
	}
	d.config = d.takeOut(t, d.configEntry)
	return d
}

// takeOut reads what a descriptor points to, and deletes it.
func (d *draft) takeOut(t *testing.T, entry jsonObject) jsonObject {
	t.Helper()
	v := readObject(t, d.blob(t, entry))
	d.remove(t, entry)
	return v
}

// sealConfig writes the config, unless that is done, and points the root to it.
func (d *draft) sealConfig(t *testing.T) {
	t.Helper()
	if !d.configSealed {
		d.configSealed = true
		d.put(t, d.configEntry, d.encode(t, d.config))
	}
}

// sealRoot does the same with the root.
func (d *draft) sealRoot(t *testing.T) {
	t.Helper()
	d.sealConfig(t)
	if !d.rootSealed {
		d.rootSealed = true
		d.put(t, d.rootEntry, d.encode(t, d.root))
	}
}

// seal writes all that is not written yet.
func (d *draft) seal(t *testing.T) {
	t.Helper()
	d.sealRoot(t)
	if d.indexBytes == nil {
		d.indexBytes = marshal(t, d.index)
	}
	d.write(t, "index.json", d.indexBytes)
}

func (d *draft) file(name string) string { return filepath.Join(d.dir, name) }

// blob is the file of the blob that a descriptor points to.
func (d *draft) blob(t *testing.T, entry jsonObject) string {
	t.Helper()
	return d.file(descriptor{Digest: text(t, entry["digest"])}.path())
}

func (d *draft) read(t *testing.T, entry jsonObject) []byte {
	t.Helper()
	data, err := os.ReadFile(d.blob(t, entry))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// write replaces a file, read-only ones too.
func (d *draft) write(t *testing.T, name string, data []byte) {
	t.Helper()
	name = d.file(name)
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (d *draft) remove(t *testing.T, entry jsonObject) {
	t.Helper()
	if err := os.Remove(d.blob(t, entry)); err != nil {
		t.Fatal(err)
	}
}

// put writes a blob and points a descriptor to it.
func (d *draft) put(t *testing.T, entry jsonObject, data []byte) {
	t.Helper()
	entry["digest"], entry["size"] = fmt.Sprintf("sha256:%x", sha256.Sum256(data)), float64(len(data))
	d.overwrite(t, entry, data)
}

// overwrite gives a blob other bytes under its old digest.
func (d *draft) overwrite(t *testing.T, entry jsonObject, data []byte) {
	t.Helper()
	d.write(t, descriptor{Digest: text(t, entry["digest"])}.path(), data)
}

// layers are the root's descriptors of layers.
func (d *draft) layers(t *testing.T) []jsonObject {
	t.Helper()
	if _, ok := d.root["config"]; ok {
		return objects(t, d.root["layers"])
	}
	isConfig := func(l jsonObject) bool { return l["mediaType"] == configType }
	return slices.DeleteFunc(objects(t, d.root["manifests"]), isConfig)
}

func (d *draft) setLayers(layers ...jsonObject) {
	if _, ok := d.root["config"]; ok {
		d.root["layers"] = list(layers...)
		return
	}
	d.root["manifests"] = list(append(layers, d.configEntry)...)
}

func (d *draft) addLayer(t *testing.T, layer jsonObject) {
	t.Helper()
	d.setLayers(append(d.layers(t), layer)...)
}

// base is the layer that all but the COPY --link lie on.
func (d *draft) base(t *testing.T) jsonObject {
	t.Helper()
	return d.layerOf(t, d.reference(t)["linux/amd64"][0])
}

// leaf is the image's last layer, which nothing lies on.
func (d *draft) leaf(t *testing.T) jsonObject {
	t.Helper()
	diffIDs := d.reference(t)["linux/amd64"]
	return d.layerOf(t, diffIDs[len(diffIDs)-1])
}

func (d *draft) layerOf(t *testing.T, diffID string) jsonObject {
	t.Helper()
	for _, l := range d.layers(t) {
		if annotations(t, l)[diffIDKey] == diffID {
			return l
		}
	}
	t.Fatalf("no layer has the diff id %s", diffID)
	return nil
}

// repack gives a layer other bytes and another digest, everywhere.
func (d *draft) repack(t *testing.T, layer jsonObject, data []byte) {
	t.Helper()
	from := layer["digest"]
	d.remove(t, layer)
	d.put(t, layer, data)
	d.rename(t, from, layer["digest"])
}

// rename calls a blob otherwise in the config.
func (d *draft) rename(t *testing.T, from, to any) {
	t.Helper()
	for _, place := range d.places(t) {
		if place["blob"] == from {
			place["blob"] = to
		}
	}
}

// places are the config's layers.
func (d *draft) places(t *testing.T) []jsonObject {
	t.Helper()
	return objects(t, d.config["layers"])
}

// placeOf gives the place of a layer and its index.
func (d *draft) placeOf(t *testing.T, layer jsonObject) (int, jsonObject) {
	t.Helper()
	places := d.places(t)
	for i, place := range places {
		if place["blob"] == layer["digest"] {
			return i, place
		}
	}
	t.Fatalf("layer %s is not in the config", layer["digest"])
	return 0, nil
}

// addPlace adds a place for a blob, on the parent of the leaf, and gives its
// index.
func (d *draft) addPlace(t *testing.T, blob any) int {
	t.Helper()
	places := d.places(t)
	_, leaf := d.placeOf(t, d.leaf(t))
	place := maps.Clone(leaf)
	place["blob"] = blob
	d.config["layers"] = list(append(places, place)...)
	return len(places)
}

func (d *draft) records(t *testing.T) []jsonObject {
	t.Helper()
	return objects(t, d.config["records"])
}

func (d *draft) addRecord(t *testing.T, record jsonObject) {
	t.Helper()
	d.config["records"] = list(append(d.records(t), record)...)
}

// leafRecord is the record whose result is the leaf.
func (d *draft) leafRecord(t *testing.T) jsonObject {
	t.Helper()
	at, _ := d.placeOf(t, d.leaf(t))
	for _, r := range d.records(t) {
		if r["layers"] != nil && number(t, objects(t, r["layers"])[0]["layer"]) == at {
			return r
		}
	}
	t.Fatal("the leaf is no result")
	return nil
}

// sources are the records that depend on no other, and have no result.
func (d *draft) sources(t *testing.T) []jsonObject {
	t.Helper()
	return slices.DeleteFunc(d.records(t), func(r jsonObject) bool {
		return r["layers"] != nil || r["inputs"] != nil
	})
}

// stray writes a layer without files that nothing names, and gives its
// descriptor.
func (d *draft) stray(t *testing.T) jsonObject {
	t.Helper()
	layer := clone(d.leaf(t))
	tar := make([]byte, 2048)
	annotations(t, layer)[diffIDKey] = fmt.Sprintf("sha256:%x", sha256.Sum256(tar))
	d.put(t, layer, gzipped(t, tar))
	return layer
}

// pad makes the bytes of an object that many.
func (d *draft) pad(t *testing.T, v jsonObject, size int) {
	t.Helper()
	v["padding"] = ""
	v["padding"] = strings.Repeat("x", size-len(d.encode(t, v)))
}

func annotations(t *testing.T, entry jsonObject) jsonObject {
	t.Helper()
	a, ok := entry["annotations"].(jsonObject)
	if !ok {
		t.Fatalf("%v has no annotations", entry)
	}
	return a
}

// clone copies a descriptor.
func clone(entry jsonObject) jsonObject {
	entry = maps.Clone(entry)
	if a, ok := entry["annotations"].(jsonObject); ok {
		entry["annotations"] = maps.Clone(a)
	}
	return entry
}

func list(objects ...jsonObject) []any {
	all := make([]any, len(objects))
	for i, o := range objects {
		all[i] = o
	}
	return all
}

// number reads a number that JSON may leave out where it is 0.
func number(t *testing.T, v any) int {
	t.Helper()
	if v == nil {
		return 0
	}
	n, ok := v.(float64)
	if !ok {
		t.Fatalf("%v is not a number", v)
	}
	return int(n)
}
