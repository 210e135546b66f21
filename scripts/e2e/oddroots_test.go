//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
)

// What is odd about the root.
var rootVariations = []variation{
	{name: "no media type of the root", effect: whole, edit: theRoot(unset("mediaType"))},
	{name: "no media type of the list", cache: "oci-index-gzip", effect: whole, edit: theRoot(unset("mediaType"))},
	{name: "media type of the root unknown", effect: whole, edit: theRoot(set("mediaType", "text/plain"))},
	{
		name: "media type of the list unknown", cache: "docker-list-gzip", effect: whole,
		edit: theRoot(set("mediaType", "text/plain")),
	},
	{
		name: "media type of the root docker's", effect: whole,
		edit: theRoot(set("mediaType", "application/vnd.docker.distribution.manifest.v2+json")),
	},
	{name: "media type of the root a list's", effect: hitsLost, edit: theRoot(set("mediaType", rootTypes[ociIndex]))},
	{
		name: "media type of the list a manifest's", cache: "docker-list-gzip", effect: hitsLost,
		edit: theRoot(set("mediaType", rootTypes[artifact])),
	},
	{name: "manifests null", effect: hitsLost, edit: theRoot(set("manifests", nil))},
	{name: "config null in a list", cache: "docker-list-gzip", effect: hitsLost, edit: theRoot(set("config", nil))},
	{name: "no schema version", effect: whole, edit: theRoot(unset("schemaVersion"))},
	{name: "schema version a text", effect: hitsLost, edit: theRoot(set("schemaVersion", "2"))},
	{name: "annotations of the root a number", effect: hitsLost, edit: theRoot(set("annotations", 5))},
	{name: "platform of a layer a number", effect: hitsLost, edit: leaf(set("platform", 5))},
	{name: "pretty-printed", effect: whole, edit: func(_ *testing.T, d *draft) { d.encode = indented }},
	{name: "fields unknown", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		all := slices.Concat(d.layers(t), d.places(t), d.records(t), []jsonObject{d.root, d.config, d.configEntry})
		for _, v := range all {
			v["x"] = jsonObject{"y": nil}
		}
		maps.Copy(d.root, jsonObject{
			"artifactType": "text/plain", "annotations": jsonObject{"x": "y"},
			"subject": jsonObject{"mediaType": "text/plain", "digest": nowhere, "size": 1},
		})
	}},
	{name: "names in capitals", effect: whole, edit: eachLayer(func(_ *testing.T, l jsonObject) {
		l["MEDIATYPE"] = l["mediaType"]
		delete(l, "mediaType")
	})},
	{name: "root just small enough", effect: whole, edit: paddedRoot(maxImport)},
	{name: "root too large", effect: hitsLost, edit: paddedRoot(maxImport + 1)},
	{name: "root far too large", effect: hitsLost, edit: paddedRoot(5 << 20)},
	{name: "config just small enough", effect: whole, edit: paddedConfig(maxImport)},
	{name: "config too large", effect: hitsLost, edit: paddedConfig(maxImport + 1)},

	// BuildKit goes by the size that the root says.
	{name: "config size off by one", effect: whole, edit: theConfig(grow(1))},
	{name: "config size 0", effect: whole, edit: theConfig(set("size", 0))},
	{name: "config said to be too large", effect: hitsLost, edit: theConfig(set("size", maxImport+1))},
	{name: "config too large and said to be small", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.pad(t, d.config, maxImport+1)
		theConfig(set("size", 5000))(t, d)
	}},
	{name: "config digest malformed", effect: hitsLost, edit: theConfig(set("digest", "sha256:abc"))},
	{name: "config embedded wrong", effect: whole, edit: theConfig(set("data", []byte("{}")))},
	{name: "layer embedded and not there", effect: buildFails, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.base(t)["data"] = d.read(t, d.base(t))
		d.remove(t, d.base(t))
	}},
}

func paddedRoot(size int) edit {
	return func(t *testing.T, d *draft) { t.Helper(); d.sealConfig(t); d.pad(t, d.root, size) }
}

func paddedConfig(size int) edit {
	return func(t *testing.T, d *draft) { t.Helper(); d.pad(t, d.config, size) }
}

// What is odd about the list of layers and configs in the root.
var listVariations = []variation{
	{name: "layers shuffled", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		layers := d.layers(t)
		slices.Reverse(layers)
		d.setLayers(layers...)
	}},
	{name: "duplicates dropped", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		seen := map[any]bool{}
		d.setLayers(slices.DeleteFunc(d.layers(t), func(l jsonObject) bool {
			defer func() { seen[l["digest"]] = true }()
			return seen[l["digest"]]
		})...)
	}},
	{name: "base in the config only", effect: hitsLost, edit: unlisted(baseBlob)},
	{name: "leaf in the config only", effect: hitsLost, edit: unlisted(leafBlob)},
	{name: "no layers", effect: hitsLost, edit: theRoot(unset("layers"))},

	{name: "unneeded layer", effect: whole, edit: unneeded(func(*testing.T, *draft, jsonObject) {})},
	{name: "unneeded layer missing", effect: whole, edit: unneeded(func(t *testing.T, d *draft, l jsonObject) {
		t.Helper()
		d.remove(t, l)
	})},
	{name: "unneeded layer damaged", effect: whole, damaged: true, edit: unneeded(func(t *testing.T, d *draft, l jsonObject) {
		t.Helper()
		d.overwrite(t, l, []byte("x"))
	})},
	{name: "unneeded layer of wrong size", effect: whole, edit: unneeded(func(_ *testing.T, _ *draft, l jsonObject) {
		l["size"] = 1
	})},
	{name: "unneeded layer that is no tar", effect: whole, edit: unneeded(func(t *testing.T, d *draft, l jsonObject) {
		t.Helper()
		d.put(t, l, []byte("x"))
	})},
	{name: "unneeded layer malformed", effect: whole, edit: unneeded(func(_ *testing.T, _ *draft, l jsonObject) {
		l["digest"] = "sha256:../../x"
	})},
	{name: "many unneeded layers before one without diffid", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		unannotate(diffIDKey)(t, d.leaf(t))
		d.setLayers(slices.Concat(manyBare(200), d.layers(t))...)
	}},
	{name: "unneeded layer blank", effect: whole, edit: unneeded(func(_ *testing.T, _ *draft, l jsonObject) { clear(l) })},

	{name: "two descriptors and the last right", effect: whole, edit: twice(true, func(_ *testing.T, l jsonObject) {
		l["size"], l["mediaType"] = 1, "text/plain"
		delete(l, "annotations")
	})},
	{name: "two descriptors and the last wrong", effect: hitsLost, edit: twice(false, set("mediaType", "text/plain"))},
	{name: "two createdat and the last right", effect: whole, edit: twice(true, annotate(createdAtKey, "yesterday"))},
	{name: "two createdat and the last wrong", effect: hitsLost, edit: twice(false, annotate(createdAtKey, "yesterday"))},

	{name: "config first", cache: "docker-list-gzip", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.root["manifests"] = list(append([]jsonObject{d.configEntry}, d.layers(t)...)...)
	}},
	{name: "two configs and the last right", cache: "docker-list-gzip", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.root["manifests"] = slices.Concat(list(brokenConfig(t, d)), list(d.layers(t)...), list(d.configEntry))
	}},
	{name: "two configs and the last wrong", cache: "docker-list-gzip", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.root["manifests"] = slices.Concat(list(d.layers(t)...), list(d.configEntry, brokenConfig(t, d)))
	}},
	{name: "two configs and the first missing", cache: "oci-index-gzip", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		first := jsonObject{"mediaType": configType, "digest": nowhere, "size": 5}
		d.root["manifests"] = slices.Concat(list(first), list(d.layers(t)...), list(d.configEntry))
	}},
	{name: "config among the layers too", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.addLayer(t, d.configEntry)
	}},
}

// manyBare are descriptors of layers that are nowhere.
func manyBare(n int) []jsonObject {
	layers := make([]jsonObject, n)
	for i := range layers {
		layers[i] = jsonObject{"mediaType": ociTar, "digest": fmt.Sprintf("sha256:%064x", i+1), "size": 5}
	}
	return layers
}

// brokenConfig writes a config that can't be read.
func brokenConfig(t *testing.T, d *draft) jsonObject {
	t.Helper()
	entry := jsonObject{"mediaType": configType}
	d.put(t, entry, []byte(`{"layers":5}`))
	return entry
}

// What is odd about index.json, or beside it.
var indexVariations = []variation{
	{name: "no oci-layout", effect: whole, edit: withoutFile("oci-layout")},
	{name: "no cache.lock", effect: whole, edit: withoutFile("cache.lock")},
	{name: "index cut", effect: hitsLost, edit: indexFile(truncated)},
	{name: "index of no bytes", effect: hitsLost, edit: indexFile(func([]byte) []byte { return []byte{} })},
	{name: "index with the end of a longer one", effect: hitsLost, edit: indexFile(func(data []byte) []byte {
		return append(data, "}]}"...)
	})},
	{name: "index with a space more", effect: whole, edit: indexFile(lengthened)},
	{name: "no media type of the index", effect: whole, edit: theIndex(unset("mediaType"))},
	{name: "annotations of the index a number", effect: hitsLost, edit: theIndex(set("annotations", 5))},
	{name: "platform of an entry a number", effect: hitsLost, edit: theEntry(set("platform", 5))},
	{name: "size and media type of the entry wrong", effect: whole, edit: theEntry(func(_ *testing.T, v jsonObject) {
		v["size"], v["mediaType"] = 1, "text/plain"
	})},
	{name: "digest of the entry malformed", effect: hitsLost, edit: theEntry(set("digest", "sha256:abc"))},
	{name: "untagged", effect: hitsLost, edit: theEntry(unset("annotations"))},
	{name: "named by containerd", effect: whole, edit: theEntry(set("annotations", jsonObject{imageNameKey: defaultTag}))},
	{name: "dangling namesake first", effect: hitsLost, edit: entries(true, dangling(tagKey))},
	{name: "dangling namesake of containerd", effect: hitsLost, edit: entries(false, dangling(imageNameKey))},
	{name: "artifact namesake first", effect: hitsLost, edit: entries(true, notCache(tagKey))},
	{name: "artifact namesake last", effect: whole, edit: entries(false, notCache(tagKey))},
	{name: "artifact namesake of containerd", effect: hitsLost, edit: entries(false, notCache(imageNameKey))},
	{name: "tagged twice alike", effect: whole, edit: entries(false, again(jsonObject{tagKey: defaultTag}))},
	{name: "tagged twice", effect: whole, edit: entries(true, again(jsonObject{tagKey: "other"}))},
	{name: "tagged and untagged", effect: whole, edit: entries(true, again(jsonObject{}))},
}

func extraFile(name string) edit {
	return func(t *testing.T, d *draft) { t.Helper(); d.write(t, name, nil) }
}

func withoutFile(name string) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		if err := os.Remove(d.file(name)); err != nil {
			t.Fatal(err)
		}
	}
}

func theIndex(c change) edit {
	return func(t *testing.T, d *draft) { t.Helper(); c(t, d.index) }
}

// theEntry changes the root's entry once digest and size are in it.
func theEntry(c change) edit {
	return func(t *testing.T, d *draft) { t.Helper(); d.sealRoot(t); c(t, d.rootEntry) }
}

// indexFile changes the bytes of index.json.
func indexFile(how func([]byte) []byte) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		d.sealRoot(t)
		d.indexBytes = how(marshal(t, d.index))
	}
}

// entries adds an entry before or behind the root's.
func entries(first bool, entry chosen) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		all := []jsonObject{entry(t, d), d.rootEntry}
		if !first {
			slices.Reverse(all)
		}
		d.index["manifests"] = list(all...)
	}
}

func dangling(key string) chosen {
	return func(*testing.T, *draft) jsonObject {
		return jsonObject{
			"mediaType": rootTypes[artifact], "digest": nowhere, "size": 5,
			"annotations": jsonObject{key: defaultTag},
		}
	}
}

// notCache is an artifact that has nothing to do with BuildKit.
func notCache(key string) chosen {
	return func(t *testing.T, d *draft) jsonObject {
		t.Helper()
		empty := jsonObject{"mediaType": "application/vnd.oci.empty.v1+json"}
		d.put(t, empty, []byte("{}"))
		entry := jsonObject{"mediaType": rootTypes[artifact], "annotations": jsonObject{key: defaultTag}}
		d.put(t, entry, marshal(t, jsonObject{"schemaVersion": 2, "config": empty, "layers": []any{}}))
		return entry
	}
}

// again names the root a second time.
func again(annotations jsonObject) chosen {
	return func(t *testing.T, d *draft) jsonObject {
		t.Helper()
		d.sealRoot(t)
		entry := clone(d.rootEntry)
		entry["annotations"] = annotations
		return entry
	}
}
