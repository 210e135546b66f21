package registrytest

import (
	"net/http"
	"net/url"
	"strings"
)

// deleting refuses to delete what may not be deleted.
func deleting(next http.Handler, allowed Deletes) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, kind, reference := route(r.URL.Path)
		isTag := kind == "manifests" && !strings.Contains(reference, ":")
		switch {
		case r.Method != http.MethodDelete || kind == "uploads":
		case allowed == DeletesNothing, allowed == DeletesManifests && isTag:
			refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported.", nil)
			return
		case allowed == DeletesTogether && isTag:
			digest := ask(next, r, http.MethodHead, r.URL.Path).Header().Get("Docker-Content-Digest")
			other := r.Clone(r.Context())
			other.URL = &url.URL{Path: "/v2/" + repository + "/manifests/" + digest}
			other.RequestURI = other.URL.Path
			r = other
		}
		next.ServeHTTP(w, r)
	})
}
