package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// sideError is an error about what a flag of explain names, rather than about the cache itself.
type sideError struct {
	flag string
	err  error
}

func (e *sideError) Error() string { return e.flag + ": " + e.err.Error() }
func (e *sideError) Unwrap() error { return e.err }

// The flags that name something in addition to the cache.
const (
	flagProvenance    = "--provenance"
	flagOldProvenance = "--old-provenance"
	flagNewCache      = "--new-cache"
)

// provenanceOf reads the builds that files and images describe. Identical ones count once.
func (a *app) provenanceOf(ctx context.Context, flag string, texts []string, access *registryFlags) ([]*provenance.Build, error) {
	var builds []*provenance.Build
	for _, text := range texts {
		found, err := a.readProvenance(ctx, text, access)
		if err != nil {
			return nil, &sideError{flag, err}
		}
		for _, b := range found {
			if !slices.ContainsFunc(builds, func(known *provenance.Build) bool { return reflect.DeepEqual(known, b) }) {
				builds = append(builds, b)
			}
		}
	}
	return builds, nil
}

// readProvenance reads a file, or the attestations of an image.
func (a *app) readProvenance(ctx context.Context, text string, access *registryFlags) ([]*provenance.Build, error) {
	if text == "-" {
		a.inputs = append(a.inputs, os.Stdin.Name())
		return readStandard()
	}
	ref, err := parse(text, "")
	if err != nil {
		return nil, err
	}
	if ref.Transport == layout.TransportPath {
		a.inputs = append(append(a.inputs, ref.Path), exported(ref.Path)...)
		if builds, err := readPath(ref.Path); builds != nil || err != nil {
			return builds, err
		}
	}
	from, err := a.open(ctx, ref, "", access.options(either))
	if err != nil {
		return nil, err
	}
	entry, err := from.Image(ctx)
	if err != nil {
		return nil, err
	}
	builds, err := provenance.FromImage(ctx, from.Source, entry.Descriptor)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return builds, nil
}

func readStandard() ([]*provenance.Build, error) {
	builds, err := readOne("standard input", os.Stdin)
	if builds == nil && err == nil {
		return nil, &usageError{errors.New("standard input is an archive; give it as a file")}
	}
	return builds, err
}

// readPath reads a file, or the files that the local exporter leaves in a directory. It returns nothing for a place.
func readPath(path string) ([]*provenance.Build, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.IsDir():
		return readFile(path)
	}
	var builds []*provenance.Build
	for _, file := range exported(path) {
		found, err := readFile(file)
		if err != nil {
			return nil, err
		}
		builds = append(builds, found...)
	}
	return builds, nil
}

// exported returns the provenance files that the local exporter writes along with its output: one, or one in the directory of
// each platform. A layout has none.
func exported(dir string) []string {
	const name = "provenance.json"
	for _, of := range []string{"index.json", "oci-layout", "blobs"} {
		if _, err := os.Lstat(filepath.Join(dir, of)); err == nil {
			return nil
		}
	}
	if one := filepath.Join(dir, name); isFile(one) {
		return []string{one}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		if at := filepath.Join(dir, e.Name(), name); e.IsDir() && isFile(at) {
			all = append(all, at)
		}
	}
	return all
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// readFile reads a file. It returns nothing for a tar file, which is a place.
func readFile(path string) ([]*provenance.Build, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	return readOne(path, file)
}

func readOne(name string, from io.Reader) ([]*provenance.Build, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(from, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if isTar(head[:n]) {
		return nil, nil
	}
	rest, err := io.ReadAll(io.LimitReader(from, provenance.MaxSize))
	if err != nil {
		return nil, err
	}
	builds, err := provenance.Parse(append(head[:n], rest...))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return builds, nil
}

// isTar reports whether a file begins like a tar file.
func isTar(head []byte) bool { return len(head) == 512 && bytes.HasPrefix(head[257:], []byte("ustar")) }

// checkDirectory fails if a path is not a directory.
func checkDirectory(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &places.NotThereError{Path: path}
	case err != nil:
		return err
	case !info.IsDir():
		return &usageError{fmt.Errorf("%s is not a directory", path)}
	}
	return nil
}
