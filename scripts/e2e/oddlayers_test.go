//go:build e2e

package e2e

import (
	"crypto/sha512"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is odd about a layer's descriptor. Where the base layer is broken the
// build fails; where a leaf is, BuildKit runs its step again.
var layerVariations = []variation{
	{name: "nothing", effect: whole, edit: nothing},
	{name: "nothing in a list", cache: "docker-list-gzip", effect: whole, edit: nothing},

	{name: "no createdat", effect: whole, edit: eachLayer(unannotate(createdAtKey))},
	{name: "createdat that is no time", effect: hitsLost, edit: leaf(annotate(createdAtKey, "yesterday"))},
	{name: "createdat empty", effect: hitsLost, edit: leaf(annotate(createdAtKey, ""))},
	{name: "no diffid", effect: hitsLost, edit: leaf(unannotate(diffIDKey))},
	{name: "no annotations", effect: hitsLost, edit: eachLayer(unset("annotations"))},
	{name: "diffid malformed", effect: hitsLost, edit: leaf(annotate(diffIDKey, "sha256:abc"))},
	{name: "diffid wrong", effect: buildFails, edit: base(annotate(diffIDKey, nowhere))},
	{name: "diffid sha512", effect: buildFails, edit: base(annotate(diffIDKey, "sha512:"+strings.Repeat("0", 128)))},
	{name: "diffid in the config instead", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		_, place := d.placeOf(t, d.leaf(t))
		place["annotations"] = jsonObject{"diffID": annotations(t, d.leaf(t))[diffIDKey]}
		unannotate(diffIDKey)(t, d.leaf(t))
	}},
	{
		name: "annotations in the config too", effect: whole,
		edit: leafPlace(set("annotations", jsonObject{"diffID": "x", "size": 5})),
	},

	{name: "size too large", effect: hitsLost, edit: leaf(grow(1))}, // BuildKit waits for long if it is the base's
	{name: "size too small", effect: buildFails, edit: base(grow(-1))},
	{name: "size 0", effect: buildFails, edit: base(set("size", 0))},
	{name: "size negative", effect: buildFails, edit: base(set("size", -1))},

	{name: "no media type", effect: buildFails, edit: base(unset("mediaType"))},
	{name: "media type unknown", effect: buildFails, edit: base(set("mediaType", "application/octet-stream"))},
	{name: "gzip as tar", effect: buildFails, edit: base(set("mediaType", ociTar))},
	// Docker's type says nothing of how it is packed.
	{
		name: "gzip as docker tar", cache: "docker-list-gzip", effect: whole,
		edit: eachLayer(set("mediaType", dockerTar)),
	},
	{name: "zstd as docker foreign tar", effect: whole, edit: basePacked(dockerForeign, zstdWindow(20))},
	{name: "gzip as zstd", effect: whole, edit: eachLayer(set("mediaType", ociTar+"+zstd"))},
	{name: "zstd as gzip", cache: "artifact-zstd", effect: whole, edit: eachLayer(set("mediaType", ociTar+"+gzip"))},
	{name: "tar as gzip", effect: whole, edit: basePacked(ociTar+"+gzip", unpacked)},
	{name: "tar as tar", effect: whole, edit: basePacked(ociTar, unpacked)},
	{name: "gzip not distributable", effect: whole, edit: base(func(t *testing.T, l jsonObject) {
		t.Helper()
		l["mediaType"], l["urls"] = ociForeign+"+gzip", []string{"https://example.com/layer"}
	})},
	{name: "zstd not distributable", effect: whole, edit: basePacked(ociForeign+"+zstd", zstdWindow(20))},
	{name: "gzip foreign", effect: whole, edit: base(set("mediaType", dockerForeign+".gzip"))},
	{name: "zstd foreign", effect: buildFails, edit: basePacked(dockerForeign+".zstd", zstdWindow(20))},
	{name: "docker layers in an artifact", effect: whole, edit: eachLayer(set("mediaType", dockerTar+".gzip"))},
	{
		name: "oci layers in a docker list", cache: "docker-list-gzip", effect: whole,
		edit: eachLayer(set("mediaType", ociTar+"+gzip")),
	},
	{
		name: "estargz not said", cache: "artifact-estargz", effect: whole,
		edit: eachLayer(unannotate(tocKey, "io.containers.estargz.uncompressed-size")),
	},

	{name: "digest malformed", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		l := d.leaf(t)
		d.rename(t, l["digest"], "sha256:abc")
		l["digest"] = "sha256:abc"
	}},
	{name: "digest sha512", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		l := d.base(t)
		data, from := d.read(t, l), l["digest"]
		d.remove(t, l)
		l["digest"] = fmt.Sprintf("sha512:%x", sha512.Sum512(data))
		d.overwrite(t, l, data)
		d.rename(t, from, l["digest"])
	}},
}

// What is odd about blobs.
var blobVariations = []variation{
	{name: "base missing", effect: buildFails, edit: missing(baseBlob)},
	{name: "leaf missing", effect: hitsLost, edit: missing(leafBlob)},
	{name: "config missing", effect: hitsLost, edit: missing(configBlob)},
	{name: "root missing", effect: hitsLost, edit: missing(rootBlob)},
	{name: "base cut", effect: buildFails, slow: true, edit: altered(baseBlob, truncated)},
	{name: "base longer", effect: buildFails, edit: altered(baseBlob, lengthened)},
	{name: "base with a byte flipped", effect: buildFails, edit: altered(baseBlob, flipped)},
	// Of these BuildKit does not look at the digest.
	{name: "config with a space more", effect: whole, damaged: true, edit: altered(configBlob, lengthened)},
	{name: "config cut", effect: hitsLost, edit: altered(configBlob, truncated)},
	{name: "root with a space more", effect: whole, damaged: true, edit: altered(rootBlob, lengthened)},
	{name: "root cut", effect: hitsLost, edit: altered(rootBlob, truncated)},

	{name: "blob behind a symbolic link", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		file, elsewhere := d.blob(t, d.base(t)), filepath.Join(t.TempDir(), "blob")
		if err := os.Rename(file, elsewhere); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(elsewhere, file); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "blob that nothing names", effect: whole, edit: func(t *testing.T, d *draft) { d.stray(t) }},
	{name: "blob that nothing names damaged", effect: whole, damaged: true, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.overwrite(t, d.stray(t), []byte("x"))
	}},
	{name: "file among the blobs", effect: whole, edit: extraFile("blobs/sha256/README")},
	{name: "leftover in ingest", effect: whole, edit: extraFile("ingest/x/data")},

	{name: "two gzip members", effect: whole, edit: basePacked(ociTar+"+gzip", twoGzipMembers)},
	{name: "gzip and then garbage", effect: buildFails, edit: basePacked(ociTar+"+gzip", behind(gzipped, "garbage"))},
	{
		name: "gzip and then zeros", effect: buildFails,
		edit: basePacked(ociTar+"+gzip", behind(gzipped, strings.Repeat("\x00", 512))),
	},
	{name: "gzip cut before it was hashed", effect: buildFails, edit: basePacked(ociTar+"+gzip", cut(gzipped))},
	{name: "zstd between skippable frames", effect: whole, edit: basePacked(ociTar+"+zstd", betweenSkippable)},
	{name: "zstd and then garbage", effect: buildFails, edit: basePacked(ociTar+"+zstd", behind(zstdWindow(20), "garbage"))},
	{name: "zstd window of 512 MiB", effect: whole, edit: basePacked(ociTar+"+zstd", zstdWindow(29))},
	{name: "zstd window of 1 GiB", effect: buildFails, edit: basePacked(ociTar+"+zstd", zstdWindow(30))},
}
