//go:build e2e

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

const (
	createdAtKey = "buildkit/createdat"
	imageNameKey = "io.containerd.image.name"

	ociTar        = "application/vnd.oci.image.layer.v1.tar"
	ociForeign    = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	dockerTar     = "application/vnd.docker.image.rootfs.diff.tar"
	dockerForeign = "application/vnd.docker.image.rootfs.foreign.diff.tar"

	maxImport = 1 << 20 // the largest root and config that BuildKit imports

	past, future = "2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z"
)

// nowhere is the digest of no blob.
var nowhere = "sha256:" + strings.Repeat("0", 64)

type (
	// edit makes something odd of a draft.
	edit func(t *testing.T, d *draft)
	// change makes something odd of one JSON object in it.
	change func(t *testing.T, v jsonObject)
)

// nothing is odd: it shows that taking a cache apart does no harm.
func nothing(*testing.T, *draft) {}

// base and leaf change one layer's descriptor, eachLayer all of them.
func base(c change) edit {
	return func(t *testing.T, d *draft) { t.Helper(); c(t, d.base(t)) }
}

func leaf(c change) edit {
	return func(t *testing.T, d *draft) { t.Helper(); c(t, d.leaf(t)) }
}

func eachLayer(c change) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		for _, l := range d.layers(t) {
			c(t, l)
		}
	}
}

// theRoot changes the root itself.
func theRoot(c change) edit {
	return func(t *testing.T, d *draft) { t.Helper(); c(t, d.root) }
}

// theConfig changes the config's descriptor once digest and size are in it.
func theConfig(c change) edit {
	return func(t *testing.T, d *draft) { t.Helper(); d.sealConfig(t); c(t, d.configEntry) }
}

// leafPlace changes the leaf's place in the config.
func leafPlace(c change) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		_, place := d.placeOf(t, d.leaf(t))
		c(t, place)
	}
}

// leafRecord changes the record whose result is the leaf, record adds another.
func leafRecord(c change) edit {
	return func(t *testing.T, d *draft) { t.Helper(); c(t, d.leafRecord(t)) }
}

func record(r jsonObject) edit {
	return func(t *testing.T, d *draft) { t.Helper(); d.addRecord(t, r) }
}

// These change one object: its members, its size, its annotations.

func set(key string, value any) change {
	return func(_ *testing.T, v jsonObject) { v[key] = value }
}

func unset(keys ...string) change {
	return func(_ *testing.T, v jsonObject) {
		for _, key := range keys {
			delete(v, key)
		}
	}
}

func grow(by int) change {
	return func(t *testing.T, v jsonObject) { t.Helper(); v["size"] = number(t, v["size"]) + by }
}

func annotate(key, value string) change {
	return func(t *testing.T, v jsonObject) { t.Helper(); annotations(t, v)[key] = value }
}

func unannotate(keys ...string) change {
	return func(t *testing.T, v jsonObject) { t.Helper(); unset(keys...)(t, annotations(t, v)) }
}

// basePacked packs the base layer anew and calls it so.
func basePacked(mediaType string, p pack) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		l := d.base(t)
		l["mediaType"] = mediaType
		d.repack(t, l, p(t, gunzipped(t, d.read(t, l))))
	}
}

// chosen chooses a descriptor.
type chosen func(t *testing.T, d *draft) jsonObject

func baseBlob(t *testing.T, d *draft) jsonObject   { t.Helper(); return d.base(t) }
func leafBlob(t *testing.T, d *draft) jsonObject   { t.Helper(); return d.leaf(t) }
func rootBlob(_ *testing.T, d *draft) jsonObject   { return d.rootEntry }
func configBlob(_ *testing.T, d *draft) jsonObject { return d.configEntry }

func missing(which chosen) edit {
	return func(t *testing.T, d *draft) { t.Helper(); d.sealRoot(t); d.remove(t, which(t, d)) }
}

// altered changes a blob's bytes, and nothing else.
func altered(which chosen, how func([]byte) []byte) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		d.sealRoot(t)
		l := which(t, d)
		d.overwrite(t, l, how(d.read(t, l)))
	}
}

// unneeded adds a layer that no result needs.
func unneeded(c func(t *testing.T, d *draft, layer jsonObject)) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		l := d.stray(t)
		d.addLayer(t, l)
		c(t, d, l)
	}
}

// twice adds a second descriptor of the leaf before or behind the right one.
func twice(first bool, c change) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		l := clone(d.leaf(t))
		c(t, l)
		layers := []jsonObject{l}
		if first {
			layers = append(layers, d.layers(t)...)
		} else {
			layers = append(d.layers(t), layers...)
		}
		d.setLayers(layers...)
	}
}

// unlisted takes a layer out of the root.
func unlisted(which chosen) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		digest := which(t, d)["digest"]
		d.setLayers(slices.DeleteFunc(d.layers(t), func(l jsonObject) bool { return l["digest"] == digest })...)
	}
}

// secondResult gives the leaf's record another result, with the same files in
// another blob.
func secondResult(at string, c func(t *testing.T, d *draft, layer jsonObject)) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		l := clone(d.leaf(t))
		d.put(t, l, namedGzip(t, gunzipped(t, d.read(t, l))))
		d.addLayer(t, l)
		r := d.leafRecord(t)
		r["layers"] = list(append(objects(t, r["layers"]), resultOn(d.addPlace(t, l["digest"]), at))...)
		c(t, d, l)
	}
}

// resultOn is a record's result on a layer.
func resultOn(place int, at string) jsonObject {
	return jsonObject{"layer": place, "createdAt": at}
}

// unlinked is a record that nobody's build asks for.
func unlinked(key string, value any) jsonObject {
	return jsonObject{"digest": "sha256:" + strings.Repeat("1", 64), key: value}
}

// input is a slot with one alternative.
func input(link int) []any { return list(jsonObject{"link": link}) }

func indented(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	return data
}
