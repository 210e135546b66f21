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

// Hosts is what the repositories of one run know of their registries together: connections, how each is reached, and the
// pace that it bears. Give one to all of them, in Options; they have to agree on how registries are reached. It is safe for
// concurrent use.
type Hosts struct {
	mu     sync.Mutex
	known  map[hostKey]*host
	sights sights
}

// Close closes the connections that nothing goes over. All may be used again afterwards.
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
	givenUp  atomic.Bool // for Options.GiveUp

	holders holders
}

// host returns what is known of a registry.
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

// address returns the registry's address, without a slash at its end. It asks the registry the first time: plain HTTP is
// for those where HTTPS is not to be verified, and only if they do not speak HTTPS.
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

// hostname returns where the registry is.
func (h *host) hostname() string {
	if h.name == "docker.io" {
		return "registry-1.docker.io"
	}
	return h.name
}

// Alive reports whether a registry that has answered before does so now, with no word of its being out of service.
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

// HasGivenUp reports whether a registry was given up, for Options.GiveUp.
func (h *Hosts) HasGivenUp(name string) bool {
	return slices.ContainsFunc(h.named(name), func(known *host) bool { return known.givenUp.Load() })
}

// named returns what is known of a registry, in all the ways in which it is reached.
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

// ping asks a registry whether it is there; what else it answers, the requests that follow will show.
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
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)) // so that the connection serves again
	return err
}
