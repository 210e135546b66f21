package registrytest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// distribution refuses what distribution 3 refuses with its default settings: every entry of a list must be a manifest in
// the same repository, and every blob that a manifest names must be there.
type distribution struct {
	next http.Handler
	// takesLists is validation.manifests.indexes.platforms: none.
	takesLists bool
	// classes are policy.repository.classes.
	classes []string
}

func (d *distribution) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, kind, _ := route(r.URL.Path); kind != "manifests" || r.Method != http.MethodPut {
		d.next.ServeHTTP(w, r)
		return
	}
	p, ok := readPushed(w, r)
	switch {
	case !ok:
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid", nil)
	case len(p.raw) > 4<<20:
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid", "http: request body too large")
	case p.MediaType != "" && p.MediaType != r.Header.Get("Content-Type"):
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid", "mediaType is "+p.MediaType)
	case strings.Contains(p.reference, ":") && p.reference != digest.FromBytes(p.raw).String():
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content", nil)
	case len(d.classes) > 0 && p.Config != nil && !slices.Contains(imageConfigs(), p.Config.MediaType):
		refuse(w, http.StatusForbidden, "DENIED", "unknown manifest class for "+p.Config.MediaType, nil)
	default:
		if missing := d.missing(r, p); len(missing) > 0 {
			refuseAll(w, http.StatusBadRequest, missing)
			return
		}
		d.next.ServeHTTP(w, r)
	}
}

// missing returns an error for each thing that a manifest names but the repository does not have.
func (d *distribution) missing(r *http.Request, p *pushed) []apiError {
	entries, kind := p.Manifests, "manifests"
	switch {
	case p.list() && d.takesLists:
		return nil
	case !p.list():
		kind = "blobs"
		if p.Layers != nil {
			entries = *p.Layers
		}
		if p.Config != nil {
			entries = append([]entry{*p.Config}, entries...)
		}
	}
	var missing []apiError
	for _, e := range entries {
		if ask(d.next, r, http.MethodHead, "/v2/"+p.repository+"/"+kind+"/"+e.Digest).Code != http.StatusOK {
			missing = append(missing, apiError{Code: "MANIFEST_BLOB_UNKNOWN", Message: "blob unknown to registry", Detail: e.Digest})
		}
	}
	return missing
}

// readOnly is distribution with storage.maintenance.readonly: requests that write have no handler.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}
