package buildcache_test

import (
	"encoding/json"
	"fmt"
	"log"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// A cache of one layer, as a Docker list, and its cache config.
const (
	exampleRoot = `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[` +
		`{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"sha256:8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",` +
		`"size":79,"annotations":{"containerd.io/uncompressed":"sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"}},` +
		`{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c","size":222}]}`
	exampleConfig = `{"layers":[{"blob":"sha256:8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4","parent":-1}],` +
		`"records":[{"layers":[{"layer":0,"createdAt":"2026-11-23T05:35:46Z"}],"digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}]}`
)

// Changing the form of a cache takes nothing but its root.
func ExampleRoot_WithForm() {
	root, err := buildcache.ParseRoot([]byte(exampleRoot))
	if err != nil {
		log.Fatal(err)
	}
	artifact := root.WithForm(buildcache.Artifact)
	fmt.Println(root.Form, "to", artifact.Form)
	fmt.Println(artifact.Layers[0].MediaType)
	fmt.Println("config is the same:", artifact.Config.Digest == root.Config.Digest)
	// Output:
	// docker-list to artifact
	// application/vnd.oci.image.layer.v1.tar+gzip
	// config is the same: true
}

// When a layer was compressed anew, its digest changes in the root and in the config, and the config's in the root.
func ExampleReplaceLayers() {
	root, err := buildcache.ParseRoot([]byte(exampleRoot))
	if err != nil {
		log.Fatal(err)
	}
	config, err := buildcache.ParseConfig([]byte(exampleConfig))
	if err != nil {
		log.Fatal(err)
	}
	old := root.Layers[0]
	blobs := map[digest.Digest]buildcache.Blob{old.Digest: {
		Digest: digest.FromString("the layer in zstd"), Size: 71, Compression: buildcache.Zstd, DiffID: old.DiffID(),
	}}
	newRoot, newConfig := buildcache.ReplaceLayers(root, config, blobs)
	raw, err := json.Marshal(newConfig)
	if err != nil {
		log.Fatal(err)
	}
	newRoot.SetConfig(raw)
	fmt.Println(newRoot.Layers[0].MediaType, newRoot.Layers[0].Size)
	fmt.Println("config follows:", newConfig.Layers[0].Blob == newRoot.Layers[0].Digest)
	fmt.Println("diffID stays:", newRoot.Layers[0].DiffID() == old.DiffID())
	// Output:
	// application/vnd.docker.image.rootfs.diff.tar.zstd 71
	// config follows: true
	// diffID stays: true
}

// Validate says why BuildKit would not hit a cache, and what that means for a build.
func ExampleValidate() {
	root, err := buildcache.ParseRoot([]byte(exampleRoot))
	if err != nil {
		log.Fatal(err)
	}
	config, err := buildcache.ParseConfig([]byte(exampleConfig))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("problems:", len(buildcache.Validate(root, int64(len(exampleRoot)), config)))

	config.Layers[0].Parent = 0 // its own parent
	delete(root.Layers[0].Annotations, buildcache.AnnotationDiffID)
	for _, p := range buildcache.Validate(root, int64(len(exampleRoot)), config) {
		fmt.Printf("%s: %s, %s\n", p.Where, p.Kind, p.Effect)
	}
	// Output:
	// problems: 0
	// config.records[0]: layer-loop, hits-lost
	// root.layers[0]: layer-no-diffid, waste
	// root.layers[0]: layer-unused, waste
}

// Index finds tags as BuildKit does.
func ExampleIndex_Find() {
	index, err := buildcache.ParseIndex([]byte(`{"schemaVersion":2,"manifests":[` +
		`{"digest":"sha256:a","size":1,"annotations":{"org.opencontainers.image.ref.name":"v1"}},` +
		`{"digest":"sha256:b","size":1,"annotations":{"org.opencontainers.image.ref.name":"v2"}}]}`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(index.Find("v2"), index.Find("v3"))
	// Output: 1 -1
}
