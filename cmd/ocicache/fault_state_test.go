package main

import (
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// state is what somebody sees who comes after a command: the roots of all tags, and files; not blobs, of which there may
// be some that nothing names.
type state map[string]string

// anyTemporary stands for all temporary files.
const anyTemporary = "*"

// stateOf looks at a trial's directory and repository. Temporary files but for the one that may be there, and blobs that
// have other bytes than they should have, it reports as errors.
func stateOf(t *testing.T, tr trial, what, may string) state {
	t.Helper()
	seen := state{}
	err := filepath.WalkDir(tr.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, tr.dir+"/")
		if isTemporary(name) {
			if name != may && may != anyTemporary {
				t.Errorf("%s: %s was left", what, name)
			}
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen.add(t, what, name, raw)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if tr.repo != "" {
		maps.Copy(seen, tr.tags(t))
	}
	return seen
}

// isTemporary reports whether a file or a directory is there only while somebody writes.
func isTemporary(name string) bool {
	base := filepath.Base(name)
	return strings.HasPrefix(base, "tmp-") || base == "index.json.lock" ||
		strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".ocicache") && base != ".ocicache"
}

// add notes a file, if somebody sees it.
func (s state) add(t *testing.T, what, name string, raw []byte) {
	t.Helper()
	dir, base := filepath.Split(name)
	sum := digest.FromBytes(raw)
	switch {
	case filepath.Base(dir) == "sha256":
		if sum.Encoded() != base {
			t.Errorf("%s: the blob %s has other bytes", what, name)
		}
	case filepath.Base(dir) == ".ocicache", base == "cache.lock", base == "oci-layout":
	case base == "index.json":
		var index manifest
		if err := json.Unmarshal(raw, &index); err != nil {
			t.Errorf("%s: %s: %v", what, name, err)
		}
		for _, root := range index.Manifests {
			s[dir+" tag "+root.Annotations["org.opencontainers.image.ref.name"]] += root.Digest.String() // it may be there twice
		}
	default:
		s[name] = sum.String()
	}
}

// tags returns what the registry has under the tags of the trial's repository.
func (tr trial) tags(t *testing.T) state {
	t.Helper()
	_, name, _ := strings.Cut(tr.repo, "/")
	var list struct {
		Tags []string `json:"tags"`
	}
	if raw, ok := tr.get(t, "/v2/"+name+"/tags/list"); ok {
		if err := json.Unmarshal(raw, &list); err != nil {
			t.Fatal(err)
		}
	}
	seen := state{}
	for _, tag := range list.Tags {
		raw, _ := tr.get(t, "/v2/"+name+"/manifests/"+tag)
		seen["repository tag "+tag] = digest.FromBytes(raw).String()
	}
	return seen
}

// get asks the registry. It reports false for what is not there.
func (tr trial) get(t *testing.T, path string) ([]byte, bool) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tr.registry.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "+
		"application/vnd.docker.distribution.manifest.list.v2+json, application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return raw, answer.StatusCode == http.StatusOK
}

// isBetween reports whether everything is as in old or as in whole. With parts each thing can be either, else all are
// one of the two.
func (s state) isBetween(old, whole state, parts bool) bool {
	if maps.Equal(s, old) || maps.Equal(s, whole) {
		return true
	}
	if !parts {
		return false
	}
	for key := range keys(s, old, whole) {
		if s[key] != old[key] && s[key] != whole[key] {
			return false
		}
	}
	return true
}

func keys(states ...state) map[string]bool {
	all := map[string]bool{}
	for _, s := range states {
		for key := range s {
			all[key] = true
		}
	}
	return all
}

// diff says how a state differs from another, for messages.
func (s state) diff(from state) string {
	var lines []string
	for key := range keys(s, from) {
		if s[key] != from[key] {
			lines = append(lines, key+": "+orNone(s[key])+" instead of "+orNone(from[key]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n\t")
}

// layouts returns the layout directories of a trial that have tags.
func (s state) layouts() []string {
	found := map[string]bool{}
	for key := range s {
		if dir, _, ok := strings.Cut(key, "/ tag "); ok {
			found[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}
