package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// hintElsewhere says what to do instead of a conversion in place.
func (a *app) hintElsewhere() string {
	if a.running != nil && a.running.Name() == "convert" && a.running.Flags().NArg() == 1 {
		return "; to convert a read-only source, give a DST"
	}
	return ""
}

// hintRegistry is about a registry's answers.
func (a *app) hintRegistry(err error) string {
	var (
		refused   *registry.RefusedError
		preflight *convert.PreflightError
		unknown   *unknownProfileError
		unlisted  *unlistedError
		auth      *registry.AuthError
	)
	switch {
	case errors.As(err, &refused):
		return a.hintRefused(refused)
	case errors.Is(err, registry.ErrTooManyRequests):
		return "the registry is getting too many requests; wait, or " + a.hintSlower()
	case errors.As(err, &preflight):
		return a.hintPreflight(preflight)
	case errors.As(err, &unlisted):
		return "you can use it all the same: --to auto asks the registry itself, and 'ocicache registries' lists what is known about others"
	case errors.As(err, &unknown):
		return strings.TrimSpace(profilesMeant(unknown.name) + " 'ocicache registries' lists the names")
	case errors.As(err, &auth):
		return auth.NextStep()
	}
	return ""
}

// hintRefused says what helps with a refusal: another form, or a command that finds out what it is about.
func (a *app) hintRefused(e *registry.RefusedError) string {
	switch {
	case e.Try != "":
		return e.NextStep + ": " + a.corrected(e.Try)
	case e.Verify == registry.AnyProfile:
		return e.NextStep + ": " + a.source().mention("verify") + " with --for PROFILE, as listed by 'ocicache registries'"
	case e.Verify == registry.NoProfile:
		return e.NextStep + ": " + a.source().command("verify")
	case e.Verify != "":
		return e.NextStep + ": " + a.source().command("verify", "--for", e.Verify)
	default:
		return e.NextStep
	}
}

// hintSlower says which flag makes the command ask less of a registry.
func (a *app) hintSlower() string {
	if a.running != nil && a.running.Flags().Lookup("rate") != nil {
		return "send fewer a second with --rate N; work already done is not repeated"
	}
	return "slow down with fewer --jobs"
}

// hintPreflight names the command that sends a cache in a form that the registry takes, if the form is the problem.
func (a *app) hintPreflight(e *convert.PreflightError) string {
	hint := "it was not written; --no-preflight pushes anyway"
	if slices.ContainsFunc(e.Problems, func(p buildcache.Problem) bool { return p.Kind == buildcache.RegistryForm }) {
		hint += "; to send a form that it accepts: " + a.corrected(convert.AutoForm)
	}
	return hint
}

// hintConnection is about reaching a registry.
func (a *app) hintConnection(err error) string {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var plain *registry.PlainError
	var noTLS tls.RecordHeaderError
	var operation *net.OpError
	var name *net.DNSError
	switch {
	case errors.Is(err, layout.ErrPatched):
		return "something between here and the registry, such as a proxy, breaks connections and then sends other bytes than were asked for; run it again, over another line if it stays so"
	case errors.As(err, &plain):
		return "the registry points to an address without TLS for its tokens or blobs; ask its administrator, or allow plain HTTP with --tls-verify=false"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		return "the registry speaks plain HTTP; allow that with " + a.plainFlags()
	case errors.As(err, &hostname):
		return "use a name that is in the registry's certificate, or get one for this name; --tls-verify=false trusts any certificate"
	case errors.As(err, &authority):
		return "save the registry's CA certificate as ca.crt in a directory and pass that with --cert-dir; --tls-verify=false trusts any certificate"
	case errors.As(err, &operation) && operation.Op == "proxyconnect":
		return "that is the proxy from HTTPS_PROXY or HTTP_PROXY; list hosts to reach directly in NO_PROXY"
	case errors.As(err, &name) && name.IsNotFound:
		return "no such host; check the spelling, and whether this machine can look the name up"
	case errors.Is(err, syscall.ECONNREFUSED) && registry.HadAnswered(err):
		return "the registry stopped answering; run it again when it is back, and it will pick up where it left off"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing is listening there; is the port right?"
	}
	return hintFailed(err)
}

// hintFailed is about registries that break off their answers, or answer that they failed, other than that they are out of service.
func hintFailed(err error) string {
	failure, ok := registry.FailureOf(err)
	cutOff := ok && errors.Is(err, io.ErrUnexpectedEOF)
	var asked *url.Error // of a request that got no answer
	dropped := ok && errors.As(err, &asked) && (errors.Is(asked, io.EOF) || errors.Is(asked, syscall.ECONNRESET) || errors.Is(asked, syscall.EPIPE))
	switch {
	case cutOff && failure.Stored:
		return "the connection to the registry broke off each time, which proves no damage; run it again, with a higher --retry; if it breaks off at the same byte again, no number of tries helps: the copy of the registry, or of a proxy before it, may be cut off, so ask its administrator"
	case cutOff, dropped:
		return "the connection to the registry broke off each time; run it again, with a higher --retry"
	case failure.Answered && failure.Stored:
		return "the registry failed, and its log says why; its copy of that may be damaged, which only its administrator can delete"
	case failure.Answered:
		return "the registry failed, and its log says why; if it was to write something, its disk may be full"
	}
	return ""
}

// plainFlags names the flags that allow plain HTTP: if both ends are registries, one for each end that has none yet.
func (a *app) plainFlags() string {
	const flag, off = "tls-verify", "=false"
	if !a.hasTwoRegistries() {
		return "--" + flag + off
	}
	var words []string
	for _, s := range []side{src, dest} {
		if name := string(s) + flag; !a.running.Flags().Changed(name) {
			words = append(words, "--"+name+off)
		}
	}
	text := strings.Join(words, " ")
	if len(words) > 1 {
		text += " (leave out the one whose registry has HTTPS)"
	}
	return text
}

// hasTwoRegistries reports whether the running command has flags for each end, and a different registry at each.
func (a *app) hasTwoRegistries() bool {
	if a.running == nil || a.running.Flags().Lookup(string(src)+"tls-verify") == nil {
		return false
	}
	hosts := map[string]bool{}
	for _, arg := range a.running.Flags().Args() {
		if ref, err := layout.ParseReference(arg); err == nil && isRegistry(ref) {
			hosts[registry.HostOf(ref.Path)] = true
		}
	}
	return len(hosts) > 1
}
