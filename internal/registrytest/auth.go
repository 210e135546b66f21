package registrytest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// guardByPassword lets in only requests with the right password.
func guardByPassword(next http.Handler, user, password string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registrytest"`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", nil)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tokenServer issues tokens, each for the actions on repositories that were asked for.
type tokenServer struct {
	user string
	uses int // how often a token may be used, 0 for any number
	url  string

	mu       sync.Mutex
	password string
	grants   map[string]map[string]bool // token, then repository:action
	used     map[string]int             // by token
	count    int
}

func newTokenServer(t testing.TB, o Options) *tokenServer {
	t.Helper()
	s := &tokenServer{user: o.User, password: o.Password, uses: o.TokenUses, grants: map[string]map[string]bool{}, used: map[string]int{}}
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if o.TLS && !o.PlainTokens {
		server.StartTLS() // with the same certificate
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	s.url = server.URL + "/token"
	return s
}

func (s *tokenServer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// ServeHTTP answers requests for a token.
func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	user, password, _ := r.BasicAuth()
	if s.user != "" && (user != s.user || password != s.password) {
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password", nil)
		return
	}
	grants := map[string]bool{}
	for _, scopes := range r.URL.Query()["scope"] {
		for scope := range strings.FieldsSeq(scopes) {
			name, ok := strings.CutPrefix(scope, "repository:")
			repository, actions, found := cutLast(name, ":")
			if !ok || !found {
				continue
			}
			for action := range strings.SplitSeq(actions, ",") {
				grants[repository+":"+action] = true
			}
		}
	}
	token := s.grant(grants)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 3600}) // a client that left needs no token
}

// grant makes a token.
func (s *tokenServer) grant(grants map[string]bool) string {
	token := rand.Text()
	s.grants[token] = grants
	return token
}

// guard lets in only requests with a token.
func (s *tokenServer) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, action := access(r)
		challenge := fmt.Sprintf("Bearer realm=%q,service=%q", s.url, "registrytest")
		if repository != "" {
			challenge += fmt.Sprintf(",scope=%q", "repository:"+repository+":"+action)
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		known, allowed := s.use(token, repository, action)
		switch {
		case ok && known && allowed:
			next.ServeHTTP(w, r)
			return
		case ok && known:
			challenge += `,error="insufficient_scope"`
		case ok:
			challenge += `,error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", nil)
	})
}

// use reports whether a token is known, and whether it allows what is asked. One that is used up is not known any more.
func (s *tokenServer) use(token, repository, action string) (known, allowed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	grants, known := s.grants[token]
	if s.used[token]++; known && s.uses > 0 && s.used[token] > s.uses {
		return false, false
	}
	return known, repository == "" || grants[repository+":"+action]
}

// access returns the repository that a request is about, and what it wants to do there.
func access(r *http.Request) (repository, action string) {
	repository, _, _ = route(r.URL.Path)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return repository, "pull"
	case http.MethodDelete:
		return repository, "delete"
	default:
		return repository, "push"
	}
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// apiError is an error as the distribution specification has it.
type apiError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// refuse answers with one error.
func refuse(w http.ResponseWriter, status int, code, message string, detail any) {
	refuseAll(w, status, []apiError{{code, message, detail}})
}

func refuseAll(w http.ResponseWriter, status int, all []apiError) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": all}) // a client that left needs no answer
}
