//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// images are the diff ids of an image's layers, bottom first, by platform.
type images map[string][]string

// archivedImage is an OCI layout in a tar file, read whole: ours are small.
type archivedImage map[string][]byte

// readImages reads the images of an archive that BuildKit wrote.
func readImages(name string) (images, error) {
	files, err := readTar(name)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", name, err)
	}
	all := images{}
	if err := files.walk("index.json", all); err != nil {
		return nil, fmt.Errorf("read image %s: %w", name, err)
	}
	return all, nil
}

func readTar(name string) (archivedImage, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	files := archivedImage{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[path.Clean(h.Name)], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}

// walk adds the images below an index or a manifest to all.
func (a archivedImage) walk(name string, all images) error {
	var m struct {
		Manifests []descriptor
		Config    *descriptor
	}
	if err := a.decode(name, &m); err != nil {
		return err
	}
	if m.Config != nil {
		return a.addImage(m.Config.path(), all)
	}
	for _, d := range m.Manifests {
		if err := a.walk(d.path(), all); err != nil {
			return err
		}
	}
	return nil
}

func (a archivedImage) addImage(name string, all images) error {
	var config struct {
		OS, Architecture string
		RootFS           struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := a.decode(name, &config); err != nil {
		return err
	}
	all[config.OS+"/"+config.Architecture] = config.RootFS.DiffIDs
	return nil
}

func (a archivedImage) decode(name string, v any) error {
	data, ok := a[name]
	if !ok {
		return fmt.Errorf("%s: %w", name, os.ErrNotExist)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// readReference reads the diff ids of an original build from testdata/refs.
func readReference(name string) (images, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var list []struct {
		Platform string
		DiffIDs  []string `json:"diff_ids"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	all := images{}
	for _, i := range list {
		all[i.Platform] = i.DiffIDs
	}
	return all, nil
}

// descriptor is the part of an OCI descriptor that the tests need.
type descriptor struct {
	MediaType   string
	Digest      string
	Size        int64
	Annotations map[string]string
}

// path is where the blob lies in a layout.
func (d descriptor) path() string {
	return path.Join("blobs", strings.Replace(d.Digest, ":", "/", 1))
}
