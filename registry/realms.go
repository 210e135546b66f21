package registry

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// realms checks where a registry with TLS sends us for a token. It refuses an address without TLS, unless plain HTTP is
// allowed; then it makes that address work, which oras-go's login would refuse.
type realms struct {
	next  http.RoundTripper
	plain bool // plain HTTP is allowed

	mu    sync.Mutex
	hosts map[string]bool // of token servers without TLS
}

// plainRealm matches the host of such a token server in a challenge.
var plainRealm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)(realm="?)http://([^/"?]+)`) })

// CloseIdleConnections is called by http.Client.
func (r *realms) CloseIdleConnections() { (&http.Client{Transport: r.next}).CloseIdleConnections() }

// RoundTrip sends a request.
func (r *realms) RoundTrip(request *http.Request) (*http.Response, error) {
	r.mu.Lock()
	known := r.hosts[request.URL.Host]
	r.mu.Unlock()
	if known && request.URL.Scheme == "https" {
		request = request.Clone(request.Context())
		request.URL.Scheme = "http"
	}
	response, err := r.next.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusUnauthorized || request.URL.Scheme != "https" {
		return response, err
	}
	challenge := response.Header.Get("Www-Authenticate")
	found := plainRealm().FindStringSubmatch(challenge)
	if found == nil {
		return response, nil
	}
	host := found[2]
	if !r.plain {
		_ = response.Body.Close() // whatever else it says
		return nil, &PlainError{Address: host}
	}
	r.mu.Lock()
	if r.hosts == nil {
		r.hosts = map[string]bool{}
	}
	r.hosts[host] = true
	r.mu.Unlock()
	response.Header.Set("Www-Authenticate", strings.Replace(challenge, found[0], found[1]+"https://"+host, 1))
	return response, nil
}
