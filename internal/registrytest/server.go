package registrytest

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
)

// Options say what a registry is like. The zero value is like distribution 3 with its defaults: plain HTTP, open to
// everybody, and it refuses caches that are lists, because their entries are not manifests.
type Options struct {
	// TakesLists is distribution's validation.manifests.indexes.platforms: none. Registries with a Strict rule
	// always have it.
	TakesLists bool
	// Strict refuses what another registry would refuse.
	Strict Strict
	// User and Password are required, by basic authentication, or by the token server if Token is set.
	User, Password string
	// Token requires bearer tokens from a token server.
	Token bool
	// TokenUses is how many requests a token is good for; 0 means that it stays good. Clients are told that it is good for an hour, so it
	// fails like one whose registry has new keys.
	TokenUses int
	// TLS serves HTTPS with a certificate that only Server.CertDir knows.
	TLS bool
	// NoMounts begins an upload instead of mounting a blob of another repository.
	NoMounts bool
	// PlainTokens leaves the token server without TLS.
	PlainTokens bool
	// ReadOnly refuses every write.
	ReadOnly bool
	// Deletes is what may be deleted.
	Deletes Deletes
	// Classes are distribution's policy.repository.classes: with "image" it refuses manifests with other configs.
	Classes []string
}

// Deletes says what may be deleted in a registry. "" is what the specification allows: tags, and manifests with all of their tags.
type Deletes string

// What may be deleted.
const (
	DeletesNothing   Deletes = "nothing"   // distribution with its defaults
	DeletesManifests Deletes = "manifests" // distribution 2
	DeletesTogether  Deletes = "together"  // the manifest of a tag, with all of its tags
)

// Server is a running registry.
type Server struct {
	// Host is what precedes the repository in a reference, 127.0.0.1:PORT.
	Host string
	// URL is the address of the registry, without a trailing slash.
	URL string
	// CertDir is a directory with the certificate of the authority, for --cert-dir. It is "" without TLS.
	CertDir string

	stored *specified // nil for a registry of the test's own
	http   *httptest.Server
	tokens *tokenServer
	faults faults

	mu  sync.Mutex
	log []Request
}

// Request is a request that a registry has answered.
type Request struct {
	Method, Path, Query string
	Status              int // 0 if the connection ended without an answer
}

// New starts a registry.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	stored := newSpecified(o.NoMounts)
	var handler http.Handler = &distribution{next: stored, takesLists: o.TakesLists || o.Strict != nil, classes: o.Classes}
	if o.Strict != nil {
		handler = o.Strict(handler)
	}
	if o.Deletes != "" {
		handler = deleting(handler, o.Deletes)
	}
	if o.ReadOnly {
		handler = readOnly(handler)
	}
	if o.User != "" && !o.Token {
		handler = guardByPassword(handler, o.User, o.Password)
	}
	s := serve(t, handler, o)
	s.stored = stored
	return s
}

// Truncate leaves only the beginning of a blob, in all repositories, as a disk may that has lost the end of its file. What is sent
// later does not replace it.
func (s *Server) Truncate(t testing.TB, blob digest.Digest, size int) {
	t.Helper()
	if !s.stored.truncate(blob.String(), size) {
		t.Fatalf("no repository has the blob %s", blob)
	}
}

// Lenient starts the registry of go-containerregistry, which accepts anything: roots whose layers are missing, wrong
// sizes, every form.
func Lenient(t testing.TB) *Server {
	t.Helper()
	return serve(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))), Options{})
}

// Serve starts a registry of the test's own, with a log and faults like the others.
func Serve(t testing.TB, handler http.Handler) *Server {
	t.Helper()
	return serve(t, handler, Options{})
}

func serve(t testing.TB, handler http.Handler, o Options) *Server {
	t.Helper()
	s := &Server{}
	s.faults.done = make(chan struct{})
	if o.Token {
		s.tokens = newTokenServer(t, o)
		handler = s.tokens.guard(handler)
	}
	s.http = httptest.NewUnstartedServer(s.logged(s.faults.wrap(handler)))
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	if o.TLS {
		s.http.StartTLS()
		s.CertDir = t.TempDir()
		certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
		if err := os.WriteFile(filepath.Join(s.CertDir, "ca.crt"), certificate, 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		s.http.Start()
	}
	t.Cleanup(func() {
		close(s.faults.done)
		s.http.CloseClientConnections()
		s.http.Close()
	})
	s.URL = s.http.URL
	_, s.Host, _ = strings.Cut(s.URL, "://")
	return s
}

// Requests returns what the registry was asked, in the order in which it answered.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.log...)
}

// Count returns how often the registry was asked with a method ("" for any) for a path that matches the pattern.
func (s *Server) Count(method, pattern string) int {
	re := regexp.MustCompile(pattern)
	n := 0
	for _, r := range s.Requests() {
		if (method == "" || r.Method == method) && re.MatchString(r.Path) {
			n++
		}
	}
	return n
}

// Forget empties the log.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// Token returns a bearer token for some actions on a repository, such as "pull" and "push". The server must use
// tokens.
func (s *Server) Token(repository string, actions ...string) string {
	grants := map[string]bool{}
	for _, action := range actions {
		grants[repository+":"+action] = true
	}
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	return s.tokens.grant(grants)
}

// ChangePassword makes the token server require another password from now on, and revokes all tokens.
func (s *Server) ChangePassword(password string) {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.password = password
	clear(s.tokens.grants)
}

// TokenRequests returns how often the token server was asked for a token.
func (s *Server) TokenRequests() int {
	if s.tokens == nil {
		return 0
	}
	return s.tokens.asked()
}

// logged notes every request with the status that the client sees, before the client sees it.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery}
		seen := &statusWriter{ResponseWriter: w, note: func(status int) {
			request.Status = status
			s.mu.Lock()
			defer s.mu.Unlock()
			s.log = append(s.log, request)
		}}
		defer func() {
			if !seen.noted { // the connection is about to be broken
				seen.note(0)
			}
		}()
		next.ServeHTTP(seen, r)
		if !seen.noted {
			seen.WriteHeader(http.StatusOK)
		}
	})
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	note  func(status int)
	noted bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.noted {
		w.noted = true
		w.note(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if !w.noted {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
