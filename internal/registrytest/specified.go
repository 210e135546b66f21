package registrytest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
)

// maxTags is the most tags that distribution lists at once if a client says how many it wants.
const maxTags = 1000

// specified is go-containerregistry's registry for manifests and tags, with what the distribution specification demands and that
// registry leaves out: blobs belong to a repository and can be read in any range, uploads have to be begun and have a secret state
// in their addresses, long lists of tags come in pages, and deleting a manifest deletes its tags.
type specified struct {
	next     http.Handler
	noMounts bool

	mu      sync.Mutex
	blobs   map[string][]byte // by the path that they are read from
	uploads map[string][]byte // what has arrived so far, by the path that more is sent to
}

func newSpecified(noMounts bool) *specified {
	next := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	return &specified{next: next, noMounts: noMounts, blobs: map[string][]byte{}, uploads: map[string][]byte{}}
}

func (s *specified) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	repository, kind, reference := route(r.URL.Path)
	switch {
	case kind == "blobs":
		s.blob(w, r, reference)
	case kind == "uploads":
		s.upload(w, r, repository, reference)
	case kind == "tags" && r.Method == http.MethodGet:
		s.tags(w, r)
	case kind == "" && r.URL.Path == "/v2/":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}") // a client that left needs no answer
	default:
		if r.Method == http.MethodDelete && strings.Contains(reference, ":") {
			s.untag(r, repository, reference)
		}
		answer := httptest.NewRecorder()
		s.next.ServeHTTP(answer, r)
		if answer.Code == http.StatusNotFound {
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown", nil)
			return
		}
		pass(w, answer)
	}
}

// route splits a path: the repository, what it is about (manifests, tags, blobs or uploads), and which of them. All are
// "" for other paths.
func route(path string) (repository, kind, reference string) {
	rest := strings.TrimPrefix(path, "/v2/")
	for _, part := range []string{"/blobs/uploads/", "/blobs/", "/manifests/", "/tags/"} {
		if repository, reference, ok := cutLast(rest, part); ok && repository != "" {
			words := strings.Split(part, "/")
			return repository, words[len(words)-2], reference
		}
	}
	return "", "", ""
}

// blob answers with a blob, or the range of it that is asked for, or deletes it.
func (s *specified) blob(w http.ResponseWriter, r *http.Request, digest string) {
	s.mu.Lock()
	raw, ok := s.blobs[r.URL.Path]
	if ok && r.Method == http.MethodDelete {
		delete(s.blobs, r.URL.Path)
	}
	s.mu.Unlock()
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry", digest)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusAccepted)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("ETag", strconv.Quote(digest))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
	}
}

// upload begins an upload, takes more of it, or ends it.
func (s *specified) upload(w http.ResponseWriter, r *http.Request, repository, id string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "blob upload invalid", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := r.URL.Path
	before, known := s.uploads[path]
	all := append(before, body...)
	switch {
	case id == "" && s.mounts(w, r, repository):
	case id == "" && r.Method == http.MethodPost:
		path += rand.Text()
		s.goOn(w, r, path, nil)
	case !known:
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", nil)
	case r.Method == http.MethodPatch:
		s.goOn(w, r, path, all)
	case r.Method == http.MethodPut:
		d := digest.FromBytes(all).String()
		if d != r.URL.Query().Get("digest") {
			refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content", nil)
			return
		}
		delete(s.uploads, path)
		s.blobs["/v2/"+repository+"/blobs/"+d] = s.stored(d, all)
		w.Header().Set("Docker-Content-Digest", d)
		w.WriteHeader(http.StatusCreated)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported.", nil)
	}
}

// stored returns what is stored of a blob that came: as in distribution, all repositories share one file, and what is there stays,
// damaged or not.
func (s *specified) stored(digest string, came []byte) []byte {
	for path, raw := range s.blobs {
		if strings.HasSuffix(path, "/blobs/"+digest) {
			return raw
		}
	}
	return came
}

// truncate leaves only the beginning of a blob, in all repositories.
func (s *specified) truncate(digest string, size int) (found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, raw := range s.blobs {
		if strings.HasSuffix(path, "/blobs/"+digest) {
			s.blobs[path], found = raw[:size], true
		}
	}
	return found
}

// mounts takes a blob from another repository, and reports whether that was asked for and is possible.
func (s *specified) mounts(w http.ResponseWriter, r *http.Request, repository string) bool {
	d := r.URL.Query().Get("mount")
	raw, ok := s.blobs["/v2/"+r.URL.Query().Get("from")+"/blobs/"+d]
	if d == "" || !ok || s.noMounts {
		return false
	}
	s.blobs["/v2/"+repository+"/blobs/"+d] = raw
	w.Header().Set("Docker-Content-Digest", d)
	w.WriteHeader(http.StatusCreated)
	return true
}

// goOn keeps what has arrived so far, and says where to send more.
func (s *specified) goOn(w http.ResponseWriter, r *http.Request, path string, all []byte) {
	s.uploads[path] = all
	location := &url.URL{Scheme: "http", Host: r.Host, Path: path, RawQuery: "_state=" + secretState}
	if r.TLS != nil {
		location.Scheme = "https"
	}
	w.Header().Set("Location", location.String())
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(all)-1, 0)))
	w.WriteHeader(http.StatusAccepted)
}

// secretState stands for the signed state that distribution puts into the addresses of uploads. No error may show it.
const secretState = "c2VjcmV0LXVwbG9hZC1zdGF0ZQ"

// tags lists tags in pages of n, from the one after last.
func (s *specified) tags(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	n := -1
	if text := query.Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 0 {
			refuse(w, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "invalid number of results requested", nil)
			return
		}
		n = min(n, maxTags)
	}
	repository, _, _ := route(r.URL.Path)
	all, ok := s.allTags(r, repository)
	if !ok {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry", nil)
		return
	}
	first := 0
	if last := query.Get("last"); last != "" {
		var found bool
		if first, found = slices.BinarySearch(all, last); found {
			first++
		}
	}
	page := all[first:]
	if n >= 0 && n <= len(page) {
		page = page[:n]
	}
	if n > 0 && n == len(page) { // even if nothing follows
		next := url.Values{"n": {strconv.Itoa(n)}, "last": {page[n-1]}}
		w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.Path, next.Encode()))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(tagList{repository, append([]string{}, page...)}) // a client that left needs no answer
}

type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// allTags asks the inner registry for all tags of a repository, and returns false if there is no such repository.
func (s *specified) allTags(r *http.Request, repository string) ([]string, bool) {
	answer := ask(s.next, r, http.MethodGet, "/v2/"+repository+"/tags/list")
	var list tagList
	ok := answer.Code == http.StatusOK && json.Unmarshal(answer.Body.Bytes(), &list) == nil
	return list.Tags, ok
}

// untag deletes the tags of a manifest.
func (s *specified) untag(r *http.Request, repository, digest string) {
	tags, _ := s.allTags(r, repository)
	for _, tag := range tags {
		path := "/v2/" + repository + "/manifests/" + tag
		if ask(s.next, r, http.MethodHead, path).Header().Get("Docker-Content-Digest") == digest {
			ask(s.next, r, http.MethodDelete, path)
		}
	}
}

// ask sends a registry another request, in addition to r.
func ask(registry http.Handler, r *http.Request, method, path string) *httptest.ResponseRecorder {
	other := r.Clone(r.Context())
	other.Method, other.Body, other.ContentLength = method, http.NoBody, 0
	other.URL = &url.URL{Path: path}
	other.RequestURI = path
	answer := httptest.NewRecorder()
	registry.ServeHTTP(answer, other)
	return answer
}

// pass passes on a recorded answer.
func pass(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // a client that left needs no answer
}
