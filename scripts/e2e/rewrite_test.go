//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// jsonObject is JSON of which the keys that we do not know have to survive.
type jsonObject = map[string]any

// configOf reads the cache config of a cache.
func configOf(t *testing.T, dir, tag string) jsonObject {
	t.Helper()
	c, err := readCache(dir, tag)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.root.configDescriptor()
	if err != nil {
		t.Fatal(err)
	}
	var config jsonObject
	if err := decodeFile(filepath.Join(dir, d.path()), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// replaceConfig gives a cache another config. Root and index follow, so that
// nothing is wrong with the cache but what is wrong with the config.
func replaceConfig(t *testing.T, dir, tag string, config jsonObject) {
	t.Helper()
	c, err := readCache(dir, tag)
	if err != nil {
		t.Fatal(err)
	}
	oldConfig, err := c.root.configDescriptor()
	if err != nil {
		t.Fatal(err)
	}
	oldRoot := descriptor{Digest: c.rootDigest}
	root := readObject(t, filepath.Join(dir, oldRoot.path()))
	point(root, oldConfig.Digest, putBlob(t, dir, config))

	indexFile := filepath.Join(dir, "index.json")
	index := readObject(t, indexFile)
	point(index, oldRoot.Digest, putBlob(t, dir, root))
	if err := os.WriteFile(indexFile, marshal(t, index), 0o644); err != nil {
		t.Fatal(err)
	}
}

// point makes the descriptors of one blob those of another.
func point(v any, from string, to descriptor) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			point(e, from, to)
		}
	case jsonObject:
		if v["digest"] == from {
			v["digest"], v["size"] = to.Digest, to.Size
			return
		}
		for _, e := range v {
			point(e, from, to)
		}
	}
}

func putBlob(t *testing.T, dir string, v jsonObject) descriptor {
	t.Helper()
	data := marshal(t, v)
	d := descriptor{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(data)), Size: int64(len(data))}
	// A blob that is there already is read-only and has these bytes.
	name := filepath.Join(dir, d.path())
	if _, err := os.Stat(name); err == nil {
		return d
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return d
}

func readObject(t *testing.T, name string) jsonObject {
	t.Helper()
	var v jsonObject
	if err := decodeFile(name, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// flip gives another digest.
func flip(digest string) string {
	last := digest[len(digest)-1]
	if last == '0' {
		return digest[:len(digest)-1] + "1"
	}
	return digest[:len(digest)-1] + "0"
}

// objects and text say what kind of JSON a value is.
func objects(t *testing.T, v any) []jsonObject {
	t.Helper()
	list, ok := v.([]any)
	if !ok {
		t.Fatalf("%v is not an array", v)
	}
	all := make([]jsonObject, len(list))
	for i, e := range list {
		if all[i], ok = e.(jsonObject); !ok {
			t.Fatalf("%v is not an object", e)
		}
	}
	return all
}

func text(t *testing.T, v any) string {
	t.Helper()
	s, ok := v.(string)
	if !ok {
		t.Fatalf("%v is not a string", v)
	}
	return s
}
