package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// tags returns the tags of a layout in the tree, and what they name: nothing where there is no layout yet.
func (t tree) tags(layout string) (map[string]digest.Digest, error) {
	tags := map[string]digest.Digest{}
	raw, ok := t[layout+"/index.json"]
	if !ok {
		return tags, nil
	}
	var index manifest
	if err := json.Unmarshal([]byte(raw), &index); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	for _, entry := range index.Manifests {
		tags[entry.Annotations["org.opencontainers.image.ref.name"]] = entry.Digest
	}
	return tags, nil
}

// blob returns a blob of a layout, which has to have its digest.
func (t tree) blob(layout string, d digest.Digest) (string, error) {
	raw, ok := t[layout+"/blobs/sha256/"+d.Encoded()]
	switch {
	case !ok:
		return "", fmt.Errorf("%s is missing", d)
	case digest.FromString(raw) != d:
		return "", fmt.Errorf("%s has %d bytes of something else", d, len(raw))
	}
	return raw, nil
}

// whole says what a cache lacks.
func (t tree) whole(layout string, root digest.Digest) error {
	raw, err := t.blob(layout, root)
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		return err
	}
	blobs := append(m.Layers, m.Manifests...)
	if m.Config.Digest != "" {
		blobs = append(blobs, m.Config)
	}
	if len(blobs) < 2 {
		return errors.New("no cache config or no layers")
	}
	for _, b := range blobs {
		if _, err := t.blob(layout, b.Digest); err != nil {
			return err
		}
	}
	return nil
}

// judge wants every tag of a layout to name what it named before or what it names after, all of which is there, and
// nothing else to have a tag.
func (t tree) judge(layout string, before, after tree) error {
	old, errOld := before.tags(layout)
	to, errTo := after.tags(layout)
	now, err := t.tags(layout)
	if err := errors.Join(errOld, errTo, err); err != nil {
		return err
	}
	for tag := range now {
		if to[tag] == "" {
			return fmt.Errorf("the tag %q came from nowhere", tag)
		}
	}
	for tag := range to {
		if now[tag] != old[tag] && now[tag] != to[tag] {
			return fmt.Errorf("the tag %s names %q, neither %q nor %q", tag, now[tag], old[tag], to[tag])
		}
		if now[tag] == "" {
			continue
		}
		if err := t.whole(layout, now[tag]); err != nil {
			return fmt.Errorf("the tag %s: %w", tag, err)
		}
	}
	return nil
}
