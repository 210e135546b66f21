package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// speech finds what is spoken of in a layout: beside what manifests name by the rules that we know, every blob whose digest stands
// anywhere in index.json, or in a blob that is spoken of and looks like JSON, whatever its media type says. Others have manifests of
// their own, write media types in their own way, or point from where we would not look. A digest that only happens to
// stand there keeps a blob too many, which is better than one too few.
type speech struct {
	dir     *Dir
	has     func(digest.Digest) bool // whether a blob is in the layout
	coming  map[digest.Digest][]byte // blobs that are taken to be there
	reached map[digest.Digest]bool
	next    []digest.Digest
}

// addMentioned adds to what the entries of the layout reach what is spoken of besides.
func (d *Dir) addMentioned(ctx context.Context, reached map[digest.Digest]bool) error {
	index, err := d.Index(ctx)
	if err != nil {
		return err
	}
	blobs, err := d.Blobs(ctx)
	if err != nil {
		return err
	}
	here := make(map[digest.Digest]bool, len(blobs))
	for _, blob := range blobs {
		here[blob.Digest] = true
	}
	s := &speech{dir: d, has: func(blob digest.Digest) bool { return here[blob] }, reached: reached}
	return s.followIndex(ctx, index)
}

// followIndex adds to what is reached what index.json and that speak of.
func (s *speech) followIndex(ctx context.Context, index *buildcache.Index) error {
	for blob := range s.reached {
		s.next = append(s.next, blob)
	}
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	s.hear(text)
	return s.follow(ctx)
}

// follow adds to what is reached what the blobs that are next speak of.
func (s *speech) follow(ctx context.Context) error {
	for len(s.next) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		blob := s.next[len(s.next)-1]
		s.next = s.next[:len(s.next)-1]
		text, coming := s.coming[blob]
		if !coming {
			var err error
			if text, err = s.dir.readObject(ctx, blob); err != nil {
				return err
			}
		}
		s.hear(text)
	}
	return nil
}

// hear notes what a text speaks of.
func (s *speech) hear(text []byte) {
	for _, blob := range buildcache.Mentions(text) {
		if !s.reached[blob] && s.has(blob) {
			s.reached[blob] = true
			s.next = append(s.next, blob)
		}
	}
}

// readObject returns the bytes of a blob that looks like a JSON object, or nil for one that does not, is larger than any that is
// read for what it names, or is not there.
func (d *Dir) readObject(ctx context.Context, blob digest.Digest) (text []byte, err error) {
	of := buildcache.Descriptor{Digest: blob}
	file, err := d.OpenFile(ctx, of)
	if errors.Is(err, ErrBlobMissing) || buildcache.CheckDigest(blob) != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	const start = 512
	text, err = io.ReadAll(io.LimitReader(file, start))
	if err == nil && startsObject(text) {
		var rest []byte
		rest, err = io.ReadAll(io.LimitReader(file, buildcache.MaxConfig+1))
		text = append(text, rest...)
	}
	switch {
	case err != nil:
		return nil, d.blobError(of, err)
	case !startsObject(text), len(text) > buildcache.MaxConfig:
		return nil, nil
	}
	return text, nil
}

// startsObject reports whether a text begins as a JSON object does.
func startsObject(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), " \t\r\n")
	return len(text) > 0 && text[0] == '{'
}
