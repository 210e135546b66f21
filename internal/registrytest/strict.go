package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Strict makes a lenient registry refuse what another one refuses.
type Strict func(http.Handler) http.Handler

// pushed is a manifest that a client wants to push.
type pushed struct {
	repository, reference string
	raw                   []byte
	MediaType             string   `json:"mediaType"`
	ArtifactType          string   `json:"artifactType"`
	Config                *entry   `json:"config"`
	Layers                *[]entry `json:"layers"`
	Manifests             []entry  `json:"manifests"`
}

type entry struct {
	MediaType string          `json:"mediaType"`
	Digest    string          `json:"digest"`
	Platform  json.RawMessage `json:"platform"`
}

// list reports whether it is a list of manifests.
func (p *pushed) list() bool { return p.Config == nil && p.Layers == nil }

// foreign returns the first entry of a list that is not a manifest.
func (p *pushed) foreign() *entry {
	for i := range p.Manifests {
		if !buildcache.IsManifestType(p.Manifests[i].MediaType) {
			return &p.Manifests[i]
		}
	}
	return nil
}

// refusal is a registry's answer to something that it does not take.
type refusal struct {
	status        int
	code, message string
	detail        any
}

// judged applies a rule to every manifest that is pushed.
func judged(judge func(*pushed) *refusal) Strict {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := readPushed(w, r)
			if !ok {
				next.ServeHTTP(w, r)
				return
			}
			if no := judge(p); no != nil {
				refuse(w, no.status, no.code, no.message, no.detail)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// readPushed reads a manifest that is pushed, and leaves it in the request to be read again.
func readPushed(w http.ResponseWriter, r *http.Request) (*pushed, bool) {
	repository, kind, reference := route(r.URL.Path)
	if kind != "manifests" || r.Method != http.MethodPut {
		return nil, false
	}
	p := &pushed{repository: repository, reference: reference}
	var err error
	p.raw, err = io.ReadAll(http.MaxBytesReader(w, r.Body, 4*buildcache.MaxRoot))
	r.Body = io.NopCloser(bytes.NewReader(p.raw))
	if err != nil || json.Unmarshal(p.raw, p) != nil {
		return nil, false
	}
	return p, true
}

// Quay2020 is Quay from 2020 to 3.10, as configured by default: lists need platforms, and manifests need the config of an image.
func Quay2020(next http.Handler) http.Handler {
	return judged(func(p *pushed) *refusal {
		if p.list() {
			return quayList(p, true)
		}
		return quayConfig(p)
	})(next)
}

// Quay311 is Quay 3.11, which no longer wants platforms in OCI indexes.
func Quay311(next http.Handler) http.Handler {
	return judged(func(p *pushed) *refusal {
		if p.list() {
			return quayList(p, p.MediaType == buildcache.MediaTypeDockerList)
		}
		return quayConfig(p)
	})(next)
}

// Quay312 is Quay 3.12 and later, which takes any config in OCI manifests, and looks for the entries of an index.
func Quay312(next http.Handler) http.Handler {
	return judged(func(p *pushed) *refusal {
		switch child := p.foreign(); {
		case p.list() && p.MediaType == buildcache.MediaTypeDockerList:
			return quayList(p, true)
		case child != nil:
			return quay("Could not find child manifest with digest `" + child.Digest + "`")
		case p.MediaType == buildcache.MediaTypeDockerManifest:
			return quayConfig(p)
		}
		return nil
	})(next)
}

const quaySchema = "failed to parse manifest: manifest data does not match schema: "

func quay(message string) *refusal {
	return &refusal{http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid", map[string]string{"message": message}}
}

func quayList(p *pushed, platforms bool) *refusal {
	for _, child := range p.Manifests {
		if platforms && child.Platform == nil {
			return quay(quaySchema + "'platform' is a required property\n\n" +
				"Failed validating 'required' in schema['properties']['manifests']['items']")
		}
	}
	// It names the last one that it does not know, which in a cache is the config.
	for _, child := range slices.Backward(p.Manifests) {
		if !buildcache.IsManifestType(child.MediaType) {
			return quay(fmt.Sprintf(quaySchema+"'%s' is not one of ['%s', '%s', '%s', '%s']", child.MediaType, buildcache.MediaTypeOCIManifest,
				buildcache.MediaTypeOCIIndex, buildcache.MediaTypeDockerManifest, buildcache.MediaTypeDockerList))
		}
	}
	return nil
}

func imageConfigs() []string {
	return []string{"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
}

func quayConfig(p *pushed) *refusal {
	types := imageConfigs()
	if p.Config == nil || slices.Contains(types, p.Config.MediaType) {
		return nil
	}
	return quay(fmt.Sprintf(quaySchema+"'%s' is not one of ['%s']", p.Config.MediaType, types[0]))
}

// ECR is Amazon ECR: entries must be manifests, manifests must have layers, and all of them a mediaType.
func ECR(next http.Handler) http.Handler {
	return judged(func(p *pushed) *refusal {
		if p.foreign() != nil || p.MediaType == "" || !p.list() && (p.Layers == nil || len(*p.Layers) == 0) {
			return &refusal{
				http.StatusMethodNotAllowed, "UNSUPPORTED",
				"Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'", nil,
			}
		}
		return nil
	})(next)
}

// GCR is Google's Container Registry, while it existed.
func GCR(next http.Handler) http.Handler {
	return judged(func(p *pushed) *refusal {
		message := ""
		switch child := p.foreign(); {
		case child != nil && p.MediaType == buildcache.MediaTypeDockerList:
			message = "Manifest list child manifest not supported: " + child.MediaType
		case child != nil:
			message = "Image index child manifest not supported: " + child.MediaType
		case !p.list() && (p.Layers == nil || len(*p.Layers) == 0):
			message = `Manifest is missing required field "layers"`
		default:
			return nil
		}
		return &refusal{http.StatusBadRequest, "MANIFEST_INVALID", message, nil}
	})(next)
}

// Alibaba is the personal edition of Alibaba's registry, or a distribution with a policy for classes: only configs of
// images.
func Alibaba(next http.Handler) http.Handler {
	return judged(func(p *pushed) *refusal {
		if p.Config == nil || strings.Contains(p.Config.MediaType, "image") {
			return nil
		}
		return &refusal{http.StatusForbidden, "DENIED", "unknown manifest class for " + p.Config.MediaType, nil}
	})(next)
}

// Gitea is Gitea 1.27: entries of lists must be manifests.
func Gitea(next http.Handler) http.Handler {
	return judged(func(p *pushed) *refusal {
		if p.foreign() != nil {
			return &refusal{http.StatusBadRequest, "MANIFEST_INVALID", "", nil}
		}
		return nil
	})(next)
}

// Zot is zot without Docker compatibility: OCI media types only, and at most 4 MiB.
func Zot(next http.Handler) http.Handler {
	return judged(func(p *pushed) *refusal {
		switch {
		case strings.HasPrefix(p.MediaType, "application/vnd.docker."):
			detail := map[string]string{"mediaType": p.MediaType}
			return &refusal{http.StatusUnsupportedMediaType, "MANIFEST_INVALID", "manifest invalid", detail}
		case len(p.raw) > 4<<20:
			detail := map[string]string{"reason": "manifest body exceeds maximum allowed size of 4194304 bytes"}
			return &refusal{http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "manifest invalid", detail}
		}
		return nil
	})(next)
}

// GitLab is GitLab with its metadata database, which takes only configs and artifacts whose media types it knows, and
// with a limit for the size of manifests in bytes.
func GitLab(limit int) Strict {
	return judged(func(p *pushed) *refusal {
		known := append(imageConfigs(), buildcache.MediaTypeConfig, "")
		types := []string{p.ArtifactType}
		if p.Config != nil {
			types = append(types, p.Config.MediaType)
		}
		for _, mediaType := range types {
			if !slices.Contains(known, mediaType) {
				return &refusal{http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid", "unknown media type: " + mediaType}
			}
		}
		if len(p.raw) > limit {
			return &refusal{http.StatusBadRequest, "MANIFEST_SIZE_LIMIT", "payload size limit exceeded", nil}
		}
		return nil
	})
}

// Harbor is Harbor: the registry behind it stores a list, but Harbor does not find the entries, and shows nothing. It has
// an error code of its own for what it does not find.
func Harbor(next http.Handler) http.Handler {
	return &harbor{next: next, hidden: map[string]bool{}}
}

type harbor struct {
	next http.Handler

	mu     sync.Mutex
	hidden map[string]bool // paths of lists that the registry behind it has, and Harbor does not show
}

func (h *harbor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repository, kind, reference := route(r.URL.Path)
	p, push := readPushed(w, r)
	switch {
	case push && p.foreign() != nil:
		h.store(w, r, p)
	case kind == "manifests" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		h.mu.Lock()
		hidden := h.hidden[r.URL.Path]
		h.mu.Unlock()
		found := httptest.NewRecorder()
		if !hidden {
			h.next.ServeHTTP(found, r)
		}
		if hidden || found.Code == http.StatusNotFound {
			harborUnknown(w, repository, reference)
			return
		}
		pass(w, found)
	default:
		h.next.ServeHTTP(w, r)
	}
}

// store gives a list to the registry behind Harbor under its digest: tags are Harbor's own.
func (h *harbor) store(w http.ResponseWriter, r *http.Request, p *pushed) {
	path := "/v2/" + p.repository + "/manifests/" + digest.FromBytes(p.raw).String()
	r.URL.Path, r.RequestURI = path, path
	stored := httptest.NewRecorder()
	h.next.ServeHTTP(stored, r)
	if stored.Code == http.StatusCreated {
		h.mu.Lock()
		h.hidden[path] = true
		h.mu.Unlock()
		harborUnknown(w, p.repository, p.foreign().Digest)
		return
	}
	w.WriteHeader(stored.Code)
}

func harborUnknown(w http.ResponseWriter, repository, reference string) {
	separator := ":"
	if strings.Contains(reference, ":") {
		separator = "@"
	}
	refuse(w, http.StatusNotFound, "NOT_FOUND", "artifact "+repository+separator+reference+" not found", nil)
}

// ReadOnlyProxy is a pull-through cache: it refuses all writes.
func ReadOnlyProxy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			next.ServeHTTP(w, r)
		default:
			refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported.", nil)
		}
	})
}

// The registries whose tags can't be moved, not even to what they already name.
var (
	// QuayImmutable is Quay 3.17 with immutable tags.
	QuayImmutable = immutable(func(p *pushed) *refusal {
		detail := map[string]string{"message": "Tag '" + p.reference + "' is immutable"}
		return &refusal{http.StatusConflict, "TAG_IMMUTABLE", "tag is immutable", detail}
	})
	// ECRImmutable is Amazon ECR with immutable tags.
	ECRImmutable = immutable(func(p *pushed) *refusal {
		message := fmt.Sprintf("The image tag '%s' already exists in the '%s' repository and cannot be overwritten "+
			"because the repository is immutable.", p.reference, p.repository)
		return &refusal{http.StatusBadRequest, "TAG_INVALID", message, nil}
	})
	// HarborImmutable is Harbor with a rule for immutable tags.
	HarborImmutable = immutable(func(p *pushed) *refusal {
		message := fmt.Sprintf("Failed to process request due to '%s:%s' configured as immutable.", p.repository, p.reference)
		return &refusal{http.StatusPreconditionFailed, "PRECONDITION", message, nil}
	})
)

func immutable(no func(*pushed) *refusal) Strict {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := readPushed(w, r)
			if ok && !strings.Contains(p.reference, ":") {
				there := ask(next, r, http.MethodHead, r.URL.Path)
				if there.Code == http.StatusOK {
					answer := no(p)
					refuse(w, answer.status, answer.code, answer.message, answer.detail)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}
