package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/registry"
)

// hintElsewhere says what helps a conversion in place.
func (a *app) hintElsewhere() string {
	if a.running != nil && a.running.Name() == "convert" && a.running.Flags().NArg() == 1 {
		return "; a source that can only be read can be converted to a DST"
	}
	return ""
}

// hintRegistry is about what a registry says.
func (a *app) hintRegistry(err error) string {
	var (
		refused   *registry.RefusedError
		preflight *convert.PreflightError
		unknown   *unknownProfileError
		auth      *registry.AuthError
	)
	switch {
	case errors.As(err, &refused):
		return a.hintRefused(refused)
	case errors.Is(err, registry.ErrTooManyRequests):
		return "the registry says that these are too many requests; wait, or " + a.hintSlower()
	case errors.As(err, &preflight):
		return a.hintPreflight(preflight)
	case errors.As(err, &unknown):
		return strings.TrimSpace(profilesMeant(unknown.name) + " 'ocicache registries' lists the names")
	case errors.As(err, &auth) && auth.CredsStore != "":
		return fmt.Sprintf("Docker keeps its credentials in the store %q, which is not asked; name it for this registry with "+
			`"credHelpers": {%q: %q}, or use --creds or --authfile`, auth.CredsStore, auth.Host, auth.CredsStore)
	case errors.As(err, &auth) && auth.User != "" && auth.Status == http.StatusUnauthorized:
		return "the user or the password is wrong, or too old; log in again with 'skopeo login', 'podman login' or 'docker login', or use --creds " +
			"or --authfile"
	case errors.As(err, &auth) && auth.Status == http.StatusForbidden && auth.From != "":
		return "the registry knows who this is, and does not allow that; ask those who run it"
	case errors.As(err, &auth):
		return "log in with 'skopeo login', 'podman login' or 'docker login', or use --creds, --authfile or --registry-token"
	}
	return ""
}

// hintRefused says what helps against a refusal: another form, or to find out what it is about.
func (a *app) hintRefused(e *registry.RefusedError) string {
	switch {
	case e.Try != "":
		return e.NextStep + ": " + a.corrected(e.Try)
	case e.Verify == registry.AnyProfile:
		return e.NextStep + ": " + a.source().mention("verify") + " with --for PROFILE, one of those that 'ocicache registries' lists"
	case e.Verify == registry.NoProfile:
		return e.NextStep + ": " + a.source().command("verify")
	case e.Verify != "":
		return e.NextStep + ": " + a.source().command("verify", "--for", e.Verify)
	default:
		return e.NextStep
	}
}

// hintSlower names the flag by which the command asks less of a registry.
func (a *app) hintSlower() string {
	if a.running != nil && a.running.Flags().Lookup("rate") != nil {
		return "send fewer a second with --rate N; what was done is not done again"
	}
	return "go slower with fewer --jobs"
}

// hintPreflight names the command that sends a cache in a form that is taken, where it is the form that is not.
func (a *app) hintPreflight(e *convert.PreflightError) string {
	hint := "nothing of it was written; --no-preflight pushes all the same"
	if slices.ContainsFunc(e.Problems, func(p buildcache.Problem) bool { return p.Kind == buildcache.RegistryForm }) {
		hint += "; what is taken there: " + a.corrected(convert.AutoForm)
	}
	return hint
}

// hintConnection is about getting to a registry.
func (a *app) hintConnection(err error) string {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var plain *registry.PlainError
	var noTLS tls.RecordHeaderError
	var operation *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &plain):
		return "the registry names an address without TLS, for tokens or for its blobs; ask those who run it, or allow plain HTTP with --tls-verify=false"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		text := "the registry speaks plain HTTP; --tls-verify=false allows that"
		if a.running != nil && a.running.Flags().Lookup("src-tls-verify") != nil {
			text += " (--src-tls-verify, --dest-tls-verify where both ends are registries)"
		}
		return text
	case errors.As(err, &hostname):
		return "use a name that the registry's certificate has, or have it made for this one; --tls-verify=false trusts anybody"
	case errors.As(err, &authority):
		return "put the registry's CA certificate as ca.crt into a directory and name it with --cert-dir; --tls-verify=false trusts anybody"
	case errors.As(err, &operation) && operation.Op == "proxyconnect":
		return "that is the proxy of HTTPS_PROXY or HTTP_PROXY; NO_PROXY names the hosts that are reached without it"
	case errors.As(err, &name) && name.IsNotFound:
		return "no host has this name; is it spelt right, and can it be looked up from here?"
	case errors.Is(err, syscall.ECONNREFUSED) && registry.HadAnswered(err):
		return "the registry stopped answering; run it again when it is there, what was brought there counts"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there; is the port right?"
	}
	return ""
}
