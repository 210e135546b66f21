package registry_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containers/image/v5/pkg/sysregistriesv2"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/registry"
)

// wantPlain wants an error that says that something leads to an address without TLS, once.
func wantPlain(t *testing.T, what string, err error) {
	t.Helper()
	var plain *registry.PlainError
	if !errors.As(err, &plain) || plain.Address == "" || !strings.Contains(err.Error(), plain.Address) {
		t.Errorf("%s: got %v, want a *PlainError", what, err)
	}
}

// TestTokensWithoutTLS has a registry with TLS that names a token server without. It gets no password, unless plain HTTP is
// allowed.
func TestTokensWithoutTLS(t *testing.T) {
	server := registrytest.New(t, registrytest.Options{TLS: true, Token: true, PlainTokens: true, User: "ann", Password: "secret"})
	yes, no := true, false
	o := registry.Options{CertDir: server.CertDir, Creds: "ann:secret", Delay: time.Millisecond}
	for what, verify := range map[string]*bool{"by default": nil, "verified": &yes} {
		o.TLSVerify = verify
		wantPlain(t, what, push(t, server, o))
		if asked := server.TokenRequests(); asked > 0 {
			t.Fatalf("%s: the token server was asked %d times", what, asked)
		}
		if pings := server.Count("", ""); pings > 2 { // one for the root, one for the tag
			t.Errorf("%s: %d requests, as if it would pass", what, pings)
		}
		server.Forget()
	}
	o.TLSVerify = &no
	if err := push(t, server, o); err != nil {
		t.Errorf("allowed: %v", err)
	}
	conf := filepath.Join(t.TempDir(), "registries.conf")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	if err := os.WriteFile(conf, []byte("[[registry]]\nlocation = \""+server.Host+"\"\ninsecure = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sysregistriesv2.InvalidateCache()
	o.TLSVerify = nil
	if err := push(t, server, o); err != nil {
		t.Errorf("allowed by registries.conf: %v", err)
	}
	o.TLSVerify = &yes
	wantPlain(t, "allowed by registries.conf, and not by the options", push(t, server, o))

	withTLS := registrytest.New(t, registrytest.Options{TLS: true, Token: true, User: "ann", Password: "secret"})
	o = registry.Options{CertDir: withTLS.CertDir, Creds: "ann:secret", Delay: time.Millisecond}
	if err := push(t, withTLS, o); err != nil || withTLS.TokenRequests() == 0 {
		t.Errorf("a token server with TLS: %v, asked %d times", err, withTLS.TokenRequests())
	}
}

// behindTLS is a registry behind a server with TLS that sends those who read blobs to it: to a host without TLS, by the
// name that it has there. It counts the requests without TLS that bring credentials.
type behindTLS struct {
	back    *registrytest.Server
	host    string // 127.0.0.1 or localhost
	front   *httptest.Server
	exposed atomic.Int32
}

func newBehindTLS(t *testing.T, host string) (*behindTLS, *registrytest.Server) {
	t.Helper()
	b := &behindTLS{back: registrytest.New(t, registrytest.Options{}), host: host}
	address, err := url.Parse(b.back.URL)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(address)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			b.exposed.Add(1)
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(plain.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(plain.URL, "http://"), ":")
	b.front = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, _, ok := r.BasicAuth(); {
		case !ok:
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, "http://"+b.host+":"+port+r.URL.Path, http.StatusTemporaryRedirect)
		default:
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(b.front.Close)
	secure := registrytest.New(t, registrytest.Options{TLS: true}) // for its certificate, which is the same
	return b, secure
}

// TestRedirectWithoutTLS has a registry with TLS whose blobs lie at an address without. To the same host the client would
// take the password along; another one gives bytes, which are verified, and gets no password.
func TestRedirectWithoutTLS(t *testing.T) {
	t.Parallel()
	for host, allowed := range map[string]bool{"127.0.0.1": false, "localhost": true} {
		b, secure := newBehindTLS(t, host)
		if err := push(t, b.back, quick(b.back)); err != nil {
			t.Fatal(err)
		}
		o := registry.Options{CertDir: secure.CertDir, Creds: "ann:secret", Delay: time.Millisecond}
		r, err := registry.Open(strings.TrimPrefix(b.front.URL, "https://")+"/cache", o)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = pull(t, r)
		if allowed && err != nil {
			t.Errorf("from %s: %v", host, err)
		} else if !allowed {
			wantPlain(t, "from "+host, err)
		}
		// Whoever pushes is sent to an address without TLS by a registry that does not know of the server before it.
		src, entry := fixture(t, "artifact-zstd")
		blob := entry.Descriptor
		blob.MediaType = "application/octet-stream"
		wantPlain(t, "push", r.Put(t.Context(), blob, func() (io.ReadCloser, error) { return src.Open(t.Context(), entry.Descriptor) }))
		if n := b.exposed.Load(); n > 0 {
			t.Errorf("%s: %d requests brought a password without TLS", host, n)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
