package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ocicache/ocicache/explain/explaintest"
)

// corpus is where the real caches lie.
const corpus = "../../testdata/caches"

func cmdCache(ts *testscript.TestScript, args []string) error {
	return os.CopyFS(ts.MkAbs(args[1]), os.DirFS(filepath.Join(corpus, args[0])))
}

func cmdBuilds(ts *testscript.TestScript, args []string) error {
	return explaintest.UnpackTo(context.Background(), ts.MkAbs("."), args...)
}

func cmdTree(ts *testscript.TestScript, args []string) error {
	root := os.DirFS(ts.MkAbs(args[0]))
	return fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		sum := digest.Digest("-")
		if entry.Type().IsRegular() {
			data, err := fs.ReadFile(root, name)
			if err != nil {
				return err
			}
			sum = digest.FromBytes(data)
		}
		fmt.Fprintf(ts.Stdout(), "%v %s %s\n", info.Mode(), name, sum)
		return nil
	})
}

// blob is a descriptor in an index.json or a root.
type blob struct {
	MediaType   string            `json:"mediaType"`
	Digest      digest.Digest     `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

// manifest is an index.json or a root of any form.
type manifest struct {
	Manifests []blob `json:"manifests"`
	Config    blob   `json:"config"`
	Layers    []blob `json:"layers"`
}

func readManifest(path string) (manifest, error) {
	var m manifest
	data, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

func blobPath(dir string, d digest.Digest) string {
	return filepath.Join(dir, "blobs", "sha256", d.Encoded())
}

// readCache returns the root with a tag, "" for the first one, and what is in it, whatever its form.
func readCache(dir, tag string) (root, config blob, layers []blob, err error) {
	index, err := readManifest(filepath.Join(dir, "index.json"))
	if err != nil {
		return root, config, nil, err
	}
	for _, entry := range index.Manifests {
		if tag == "" || entry.Annotations["org.opencontainers.image.ref.name"] == tag {
			root = entry
			break
		}
	}
	if root.Digest == "" {
		return root, config, nil, fmt.Errorf("%s: no tag %q", dir, tag)
	}
	m, err := readManifest(blobPath(dir, root.Digest))
	config, layers = m.Config, m.Layers
	for _, entry := range m.Manifests {
		if entry.MediaType == "application/vnd.buildkit.cacheconfig.v0" {
			config = entry
		} else {
			layers = append(layers, entry)
		}
	}
	return root, config, layers, err
}

func cmdAnnotate(ts *testscript.TestScript, args []string) error {
	path := ts.MkAbs(filepath.Join(args[0], "index.json"))
	index, err := readManifest(path)
	if err != nil {
		return err
	}
	at, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	annotations := index.Manifests[at].Annotations
	if delete(annotations, args[2]); args[3] != "" {
		annotations[args[2]] = args[3]
	}
	raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": index.Manifests})
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o644)
}

func cmdDigest(ts *testscript.TestScript, args []string) error {
	root, _, _, err := readCache(ts.MkAbs(args[1]), args[2])
	ts.Setenv(args[0], root.Digest.String())
	return err
}

func cmdDiffIDs(ts *testscript.TestScript, args []string) error {
	_, _, layers, err := readCache(ts.MkAbs(args[1]), args[2])
	ids := make([]string, len(layers))
	for i, layer := range layers {
		ids[i] = layer.Annotations["containerd.io/uncompressed"]
	}
	ts.Setenv(args[0], sortedWords(ids))
	return err
}

func cmdDamage(ts *testscript.TestScript, args []string) error {
	dir := ts.MkAbs(args[0])
	root, config, layers, err := readCache(dir, "")
	if err != nil {
		return err
	}
	var victim blob
	switch args[1] {
	case "root":
		victim = root
	case "config":
		victim = config
	case "layer":
		for _, layer := range layers {
			if layer.Size > victim.Size {
				victim = layer
			}
		}
	default:
		return fmt.Errorf("no such blob: %s", args[1])
	}
	ts.Setenv("DAMAGED", victim.Digest.String())
	if args[2] == "mislabel" {
		return mislabel(dir, root, victim)
	}
	return spoil(blobPath(dir, victim.Digest), args[2])
}

func spoil(path, how string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	switch how {
	case "alter":
		data[len(data)/2] ^= 1
	case "truncate":
		data = data[:len(data)/2]
	case "empty":
		data = nil
	case "remove":
		return os.Remove(path)
	case "close":
		return os.Chmod(path, 0)
	default:
		return fmt.Errorf("no such damage: %s", how)
	}
	return os.WriteFile(path, data, 0o644)
}

// mislabel gives a layer a wrong diffID, as an export that went wrong would: the root is another, and named.
func mislabel(dir string, root, layer blob) error {
	data, err := os.ReadFile(blobPath(dir, root.Digest))
	if err != nil {
		return err
	}
	wrong := digest.NewDigestFromEncoded(digest.SHA256, strings.Repeat("0", 64)).String()
	data = bytes.ReplaceAll(data, []byte(layer.Annotations["containerd.io/uncompressed"]), []byte(wrong))
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return err
	}
	now := digest.FromBytes(data)
	index = bytes.ReplaceAll(index, []byte(root.Digest), []byte(now))
	return errors.Join(os.WriteFile(blobPath(dir, now), data, 0o644), os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
}

func cmdLinks(ts *testscript.TestScript, args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	dir := ts.MkAbs(args[1])
	_, _, layers, err := readCache(dir, "")
	if err != nil {
		return err
	}
	for _, layer := range layers {
		info, err := os.Stat(blobPath(dir, layer.Digest))
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.New("no count of names on this system")
		}
		if int(stat.Nlink) != want {
			return fmt.Errorf("%s: %d names, want %d", info.Name(), stat.Nlink, want)
		}
	}
	return nil
}
