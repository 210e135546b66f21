package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"

	"github.com/containers/image/v5/pkg/sysregistriesv2"
)

// PlainError says that a registry with TLS led to an address without TLS, which was not allowed. Anybody on the way there could
// read the credentials, so nothing was sent.
type PlainError struct{ Address string }

func (e *PlainError) Error() string {
	return fmt.Sprintf("it leads to %s without TLS, where credentials could be read on the way; nothing was sent there", e.Address)
}

// guard checks the connections of one request, and of everything that it leads to: redirects, token servers, upload addresses.
// The library does not say where it connects, but Go's HTTP client does, before anything is sent.
type guard struct {
	dog *watchdog
	// plain says that plain HTTP is allowed.
	plain bool
	// download is the host of a registry from which bytes are read that will be verified. It may send us to a store elsewhere,
	// which gets no credentials: the client sends them only to this host and those below it.
	download string

	mu      sync.Mutex
	address string // where the next connection goes
}

// watch returns the context for a request that is to be guarded.
func (g *guard) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(address string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.address = address
		},
		GotConn:              g.connected,
		GotFirstResponseByte: g.dog.alive,
	})
}

// connected closes a connection over which nothing may be sent. The client has not written to it yet.
func (g *guard) connected(info httptrace.GotConnInfo) {
	if _, ok := info.Conn.(*tls.Conn); ok || g.plain {
		return
	}
	g.mu.Lock()
	address := g.address
	g.mu.Unlock()
	if g.download != "" && !isWithin(hostOf(address), hostOf(g.download)) {
		return
	}
	_ = info.Conn.Close() // whatever it says, the request has ended
	g.dog.bite(&PlainError{Address: address})
}

// hostOf returns a host's name without its port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.Trim(address, "[]")
}

// isWithin reports whether the HTTP client takes credentials for one host along to another.
func isWithin(host, of string) bool {
	return strings.EqualFold(host, of) || strings.HasSuffix(strings.ToLower(host), "."+strings.ToLower(of))
}

// allowsPlain reports whether plain HTTP is allowed for the repository, by the options or by registries.conf.
func (r *Repository) allowsPlain() bool {
	if verify := r.options.TLSVerify; verify != nil {
		return !*verify
	}
	conf, err := sysregistriesv2.FindRegistry(r.sys, r.name.Name())
	if err != nil || conf == nil {
		return false // the library says what is wrong with the file
	}
	return conf.Insecure || slices.ContainsFunc(conf.Mirrors, func(m sysregistriesv2.Endpoint) bool { return m.Insecure })
}
