package migrate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"syscall"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// Cause is a kind of reason for a failure.
type Cause string

// The causes. The names are part of the interface: scripts match them.
const (
	CauseUnreachable Cause = "unreachable"  // the registry is down, silent or broken
	CauseBusy        Cause = "busy"         // it had enough of us, however often it was asked
	CauseAccess      Cause = "access"       // it wants other credentials
	CauseTLS         Cause = "tls"          // it speaks plain HTTP, or has a certificate that can't be trusted
	CauseRefused     Cause = "refused"      // it does not take such caches: their form, or size
	CauseNotAllowed  Cause = "not-allowed"  // it does not allow writing: a tag that can't be moved, a read-only registry
	CauseNotThere    Cause = "not-there"    // no such file, directory, repository or tag
	CauseNoCache     Cause = "no-cache"     // the root is certainly not one of a cache
	CauseUnusable    Cause = "unusable"     // BuildKit would not import the result
	CauseEmptied     Cause = "emptied"      // the plan's prune would leave nothing of it
	CauseDamaged     Cause = "damaged"      // roots or blobs are missing, or have the wrong bytes
	CauseBadTag      Cause = "bad-tag"      // the tag can't be part of a place, where the plan puts it
	CauseTaken       Cause = "taken"        // an image, or another source of the plan, has the tag
	CauseMoved       Cause = "moved"        // somebody else wrote to the tag
	CauseLocked      Cause = "locked"       // another process has locked the layout
	CauseSpace       Cause = "no-space"     // the disk is full
	CauseTooFew      Cause = "too-few-tags" // of a source: fewer tags than the plan wants
	CauseOther       Cause = "other"
)

// Causes returns all causes.
func Causes() []Cause {
	return []Cause{
		CauseUnreachable, CauseBusy, CauseAccess, CauseTLS, CauseRefused, CauseNotAllowed, CauseNotThere, CauseNoCache, CauseUnusable, CauseEmptied,
		CauseDamaged, CauseBadTag, CauseTaken, CauseMoved, CauseLocked, CauseSpace, CauseTooFew, CauseOther,
	}
}

// IsHopeless reports whether trying again can't help, as long as neither the source nor the plan changes.
func (c Cause) IsHopeless() bool {
	return c == CauseRefused || c == CauseNoCache || c == CauseUnusable || c == CauseEmptied || c == CauseBadTag
}

// passes reports whether trying again soon may help.
func (c Cause) passes() bool {
	return c == CauseUnreachable || c == CauseBusy || c == CauseMoved || c == CauseLocked
}

// causeOf returns the kind of reason that an error is. It goes by types, never by text.
func causeOf(err error) Cause {
	for _, find := range []func(error) (Cause, bool){causeAtRegistry, causeAtTarget, causeInCache} {
		if cause, ok := find(err); ok {
			return cause
		}
	}
	return CauseOther
}

// causeOfBroken returns the cause for an entry whose root is missing or can't be read, as far as the entry tells.
func causeOfBroken(entry layout.Entry) Cause {
	if entry.Kind == layout.KindDangling {
		return CauseDamaged
	}
	if cause, ok := causeInCache(entry.Err); ok {
		return cause
	}
	return CauseNoCache
}

// causeAtTarget finds causes in who else writes to the target, in tags, and in what the system says.
func causeAtTarget(err error) (Cause, bool) {
	var (
		taken   *layout.TakenError
		claimed *ClaimedError
		badTag  *BadTagError
		moved   *layout.TagMovedError
		locked  *layout.LockedError
		tooFew  *TooFewError
	)
	switch {
	case errors.As(err, &taken), errors.As(err, &claimed):
		return CauseTaken, true
	case errors.As(err, &badTag):
		return CauseBadTag, true
	case errors.As(err, &moved):
		return CauseMoved, true
	case errors.As(err, &locked):
		return CauseLocked, true
	case errors.As(err, &tooFew):
		return CauseTooFew, true
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return CauseSpace, true
	}
	return "", false
}

// causeInCache finds what is wrong with a cache. Missing or damaged data may come back, but a whole root of something else is no cache.
func causeInCache(err error) (Cause, bool) {
	var (
		dangling *layout.DanglingError
		notFound *layout.NotFoundError
		proof    *convert.ProofError
		size     *buildcache.SizeError
		diffID   *convert.DiffIDError
		files    *convert.TarError
		estargz  *convert.EstargzError
		empty    *convert.EmptyTarError
		blob     *layout.BlobError
		host     *places.HostError
	)
	switch {
	case errors.As(err, &dangling), errors.As(err, &diffID), errors.As(err, &files), errors.As(err, &blob), errors.As(err, &proof) && isDamage(proof):
		return CauseDamaged, true
	case errors.As(err, &notFound), errors.As(err, &host), errors.Is(err, fs.ErrNotExist):
		return CauseNotThere, true
	case errors.Is(err, buildcache.ErrNotCache), errors.Is(err, buildcache.ErrAmbiguousRoot):
		return CauseNoCache, true
	case errors.Is(err, buildcache.ErrNoResults):
		return CauseEmptied, true
	case errors.As(err, &proof), errors.As(err, &size), errors.As(err, &estargz), errors.As(err, &empty):
		return CauseUnusable, true
	}
	return "", false
}

// isDamage reports whether a proof found blobs that are missing or have the wrong bytes.
func isDamage(proof *convert.ProofError) bool {
	return slices.ContainsFunc(proof.Problems, func(p buildcache.Problem) bool {
		return p.Kind == buildcache.BlobMissing || p.Kind == buildcache.BlobDamaged
	})
}

// isTLS reports whether an error is about how the connection is secured.
func isTLS(err error) bool {
	var (
		plain       *registry.PlainError
		noTLS       tls.RecordHeaderError
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		hostname    x509.HostnameError
		invalid     x509.CertificateInvalidError
	)
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &plain) || errors.As(err, &noTLS) || errors.As(err, &certificate) || errors.As(err, &authority) ||
		errors.As(err, &hostname) || errors.As(err, &invalid)
}

// causeAtRegistry finds causes in what a registry did.
func causeAtRegistry(err error) (Cause, bool) {
	var (
		refused   *registry.RefusedError
		preflight *convert.PreflightError
		auth      *registry.AuthError
	)
	switch {
	case errors.As(err, &preflight):
		return CauseRefused, true
	case errors.As(err, &refused) && (refused.IsAboutForm() || refused.About == registry.AboutEmpty || refused.About == registry.AboutSize):
		return CauseRefused, true
	case errors.As(err, &refused):
		return CauseNotAllowed, true
	case errors.As(err, &auth):
		return CauseAccess, true
	}
	failure, ok := registry.FailureOf(err)
	switch {
	case isTLS(err):
		return CauseTLS, true
	case ok && failure.Busy:
		return CauseBusy, true
	case ok && failure.Down:
		return CauseUnreachable, true
	}
	return "", false
}
