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

// speech finds what a layout mentions: not only what manifests name by the rules we know, but every blob whose digest occurs
// anywhere in index.json, or in a mentioned blob that looks like JSON, whatever its media type says. Other programs have their own
// manifests, write media types their own way, or refer to blobs where we wouldn't look. A digest that occurs there by chance keeps
// one blob too many, which is better than one too few.
type speech struct {
	dir     *Dir
	has     func(digest.Digest) bool // whether a blob is in the layout
	coming  map[digest.Digest][]byte // blobs that are assumed to be there
	reached map[digest.Digest]bool
	next    []digest.Digest
}

// addMentioned adds to what the layout's entries reach whatever else is mentioned there.
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

// followIndex adds to reached what index.json and the reached blobs mention.
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

// follow adds to reached what the blobs in next mention.
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

// hear notes what a text mentions.
func (s *speech) hear(text []byte) {
	for _, blob := range buildcache.Mentions(text) {
		if !s.reached[blob] && s.has(blob) {
			s.reached[blob] = true
			s.next = append(s.next, blob)
		}
	}
}

// readObject returns the bytes of a blob that looks like a JSON object. It returns nil for other blobs, and for one that is missing or
// larger than MaxConfig, the most that is read to find what a blob names.
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

// startsObject reports whether a text starts like a JSON object.
func startsObject(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), " \t\r\n")
	return len(text) > 0 && text[0] == '{'
}
