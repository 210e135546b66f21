package provenance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/llb"
)

// Media types of an exported history and of attestations.
const (
	mediaTypeStatus = "application/vnd.buildkit.status.v0"
	mediaTypeInToto = "application/vnd.in-toto+json"
)

// maxUnpacked is the most bytes that an exported history may unpack to.
const maxUnpacked = 4 * MaxSize

// parseDockerbuild reads what `docker buildx history export` writes: a layout in a compressed tar file.
func parseDockerbuild(data []byte) ([]*Build, error) {
	files, err := untar(data)
	if err != nil {
		return nil, fmt.Errorf("read exported history: %w", err)
	}
	index, err := buildcache.ParseIndex(files["index.json"])
	if err != nil {
		return nil, fmt.Errorf("read exported history: %w", err)
	}
	var builds []*Build
	var reasons []error
	for _, entry := range index.Entries {
		found, err := parseRecord(files, entry.Digest)
		if err != nil {
			reasons = append(reasons, err)
		}
		builds = append(builds, found...)
	}
	if len(builds) == 0 {
		return nil, errors.Join(append(reasons, ErrNoProvenance)...)
	}
	return builds, nil
}

func untar(data []byte) (map[string][]byte, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: unpacked, N: maxUnpacked}
	files := map[string][]byte{}
	for r := tar.NewReader(limited); ; {
		header, err := r.Next()
		switch {
		case limited.N <= 0:
			return nil, fmt.Errorf("larger than %d bytes", maxUnpacked)
		case errors.Is(err, io.EOF):
			_, err := io.Copy(io.Discard, limited) // up to the checksum, which proves that nothing is missing
			return files, err
		case err != nil:
			return nil, err
		case header.Typeflag != tar.TypeReg:
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files[strings.TrimPrefix(header.Name, "./")] = content
	}
}

// blobOf returns a blob of the layout after checking its digest.
func blobOf(files map[string][]byte, d digest.Digest) ([]byte, error) {
	if err := buildcache.CheckDigest(d); err != nil {
		return nil, err
	}
	blob, ok := files["blobs/"+d.Algorithm().String()+"/"+d.Encoded()]
	if !ok {
		return nil, fmt.Errorf("blob %s is missing", d)
	}
	if d.Algorithm().FromBytes(blob) != d {
		return nil, fmt.Errorf("blob %s is damaged", d)
	}
	return blob, nil
}

// parseRecord reads one build of an exported history.
func parseRecord(files map[string][]byte, root digest.Digest) ([]*Build, error) {
	raw, err := blobOf(files, root)
	if err != nil {
		return nil, err
	}
	var manifest struct {
		Layers []buildcache.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var builds []*Build
	var status []vertexStatus
	for _, layer := range manifest.Layers {
		switch layer.MediaType {
		case mediaTypeInToto:
			blob, err := blobOf(files, layer.Digest)
			if err != nil {
				return nil, err
			}
			found, err := parseJSON(blob, maxMetadataNest)
			if err != nil && !isNothing(err) {
				return nil, err
			}
			builds = append(builds, found...)
		case mediaTypeStatus:
			blob, err := blobOf(files, layer.Digest)
			if err != nil {
				return nil, err
			}
			if status, err = parseStatusLog(blob); err != nil {
				return nil, fmt.Errorf("status log: %w", err)
			}
		}
	}
	for _, b := range builds {
		b.addStatus(status)
	}
	return builds, nil
}

// vertexStatus is what BuildKit reported about a vertex while it ran.
type vertexStatus struct {
	digest digest.Digest
	name   string
	cached bool
}

var errStatusLog = errors.New("cut off")

// parseStatusLog reads messages that are each preceded by their length.
func parseStatusLog(data []byte) ([]vertexStatus, error) {
	var all []vertexStatus
	for len(data) > 0 {
		if len(data) < 4 {
			return nil, errStatusLog
		}
		size := uint64(binary.LittleEndian.Uint32(data))
		if data = data[4:]; uint64(len(data)) < size {
			return nil, errStatusLog
		}
		err := llb.EachField(data[:size], func(f llb.Field) error {
			if f.Number != 1 {
				return nil
			}
			v, err := parseVertexStatus(f.Bytes)
			all = append(all, v)
			return err
		})
		if err != nil {
			return nil, err
		}
		data = data[size:]
	}
	return all, nil
}

func parseVertexStatus(data []byte) (vertexStatus, error) {
	var v vertexStatus
	err := llb.EachField(data, func(f llb.Field) error {
		switch f.Number {
		case 1:
			v.digest = digest.Digest(f.Bytes)
		case 3:
			v.name = string(f.Bytes)
		case 4:
			v.cached = f.Value != 0
		}
		return nil
	})
	return v, err
}

// addStatus adds names, and whether steps were cached. A step was if any event says so, because a vertex may be
// opened again later without the flag.
func (b *Build) addStatus(status []vertexStatus) {
	at := map[digest.Digest]int{}
	for i, s := range b.Steps {
		if s.Vertex != "" {
			at[s.Vertex] = i
		}
	}
	for _, v := range status {
		i, ok := at[v.digest]
		if !ok {
			continue
		}
		step := &b.Steps[i]
		if v.name != "" {
			step.Name = v.name
		}
		if step.Cached == nil {
			step.Cached = new(bool)
		}
		*step.Cached = *step.Cached || v.cached
	}
}
