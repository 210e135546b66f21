package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containers/image/v5/pkg/tlsclientconfig"
	"github.com/containers/image/v5/types"
)

// Hosts is what the repositories of one run share about their registries: connections, how each is reached, and the pace that
// it can bear. Put the same one into the Options of all; they have to agree on how registries are reached. It is safe for
// concurrent use.
type Hosts struct {
	mu     sync.Mutex
	known  map[hostKey]*host
	sights sights
}

// Close closes idle connections. Everything may still be used afterwards.
func (h *Hosts) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, known := range h.known {
		known.http.CloseIdleConnections()
	}
	return nil
}

type hostKey struct {
	name, certDir string
	insecure      bool
}

// host is one registry.
type host struct {
	name     string // in a reference, with its port
	insecure bool
	http     *http.Client
	pace     *pace

	mu   sync.Mutex
	base string // its address, "" until it has answered

	answered atomic.Bool // anything at all
	givenUp  atomic.Bool // because of Options.GiveUp

	holders holders
}

// host returns what is known about a registry.
func (h *Hosts) host(name string, insecure bool, sys *types.SystemContext, most float64, delay time.Duration) (*host, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := hostKey{name, sys.DockerCertPath, insecure}
	if known, ok := h.known[key]; ok {
		return known, nil
	}
	config := &tls.Config{InsecureSkipVerify: insecure} //nolint:gosec // where the user asked for it
	dir, err := certificates(name, sys)
	if err == nil && dir != "" {
		err = tlsclientconfig.SetupCertificates(dir, config)
	}
	if err != nil {
		return nil, err
	}
	transport := tlsclientconfig.NewTransport()
	transport.TLSClientConfig = config
	transport.MaxIdleConnsPerHost = connectionsKept
	made := &host{name: name, insecure: insecure, http: &http.Client{Transport: &realms{next: transport, plain: insecure}}, pace: newPace(most, delay)}
	if h.known == nil {
		h.known = map[hostKey]*host{}
	}
	h.known[key] = made
	return made, nil
}

// connectionsKept is how many connections to a registry are kept open.
const connectionsKept = 16

// certificates returns the directory with the certificates for a host, where containers/image looks for it, or "".
func certificates(host string, sys *types.SystemContext) (string, error) {
	if sys.DockerCertPath != "" {
		return sys.DockerCertPath, nil
	}
	dirs := []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append([]string{filepath.Join(home, ".config/containers/certs.d")}, dirs...)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, host)
		_, err := os.Stat(path)
		switch {
		case err == nil:
			return path, nil
		case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission):
			return "", err
		}
	}
	return "", nil
}

// address returns the registry's address, without a slash at the end. The first time, it asks the registry: plain HTTP is used
// only if verification is not required and the registry does not answer over HTTPS.
func (h *host) address(ctx context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.base != "" {
		return h.base, nil
	}
	base := "https://" + h.hostname()
	err := h.ping(ctx, base)
	if err != nil && h.insecure && ctx.Err() == nil {
		base = "http://" + h.hostname()
		err = h.ping(ctx, base)
	}
	if err == nil {
		h.base = base
	}
	return h.base, err
}

// hostname returns the name of the registry's host.
func (h *host) hostname() string {
	if h.name == "docker.io" {
		return "registry-1.docker.io"
	}
	return h.name
}

// Alive reports whether a registry that has answered before answers now, and with neither 429 nor 5xx.
func (h *Hosts) Alive(ctx context.Context, name string) bool {
	for _, known := range h.named(name) {
		known.mu.Lock()
		base := known.base
		known.mu.Unlock()
		if base != "" && known.ping(ctx, base) == nil {
			return true
		}
	}
	return false
}

// HasGivenUp reports whether a registry was given up because of Options.GiveUp.
func (h *Hosts) HasGivenUp(name string) bool {
	return slices.ContainsFunc(h.named(name), func(known *host) bool { return known.givenUp.Load() })
}

// named returns what is known about a registry, in all the ways in which it is reached.
func (h *Hosts) named(name string) []*host {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*host
	for key, known := range h.known {
		if key.name == name {
			all = append(all, known)
		}
	}
	return all
}

// ping asks whether a registry is there. Other errors will show in the requests that follow.
func (h *host) ping(ctx context.Context, base string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v2/", nil)
	if err != nil {
		return err
	}
	response, err := h.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // nobody reads it
	if response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError {
		return refusedBy(response)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)) // so that the connection can be reused
	return err
}
