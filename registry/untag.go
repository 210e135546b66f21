package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ocicache/ocicache/layout"
)

// delete deletes a tag, or a manifest by its digest. It is not an error if there is none.
func (c *client) delete(ctx context.Context, which string) error {
	ctx = auth.AppendScopesForHost(ctx, c.host.hostname(), auth.ScopeRepository(c.path, auth.ActionDelete))
	response, err := c.do(ctx, http.MethodDelete, "/manifests/"+which, nil, nil,
		http.StatusAccepted, http.StatusOK, http.StatusNoContent, http.StatusNotFound)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// errNoDelete says that a registry claims to have deleted a tag, and has not.
var errNoDelete = errors.New("the registry reported the tag as deleted, but still has it")

// Untag deletes a tag, as specified by the distribution specification 1.1. A registry that does not support that is asked to
// delete the root instead, if no other tag names it, or has a root that names it. If a registry deletes other tags as well,
// they are written again. Tags that named the root when Entries was last called are in sharing, or are to be deleted as well;
// later ones stay.
func (r *Repository) Untag(ctx context.Context, tag string, was digest.Digest, sharing []string) error {
	if err := r.CheckTag(tag); err != nil {
		return err
	}
	entry, err := r.entry(ctx, tag)
	if err != nil || entry == nil {
		return err
	}
	if now := entry.Descriptor.Digest; now != was {
		return &layout.TagMovedError{Place: r.String(), Tag: tag, Was: was, Now: now}
	}
	raw, err := r.manifest(ctx, entry.Descriptor)
	if err != nil {
		return err
	}
	gone, said, err := r.take(ctx, tag, tag)
	switch {
	case err != nil:
		return err
	case gone:
		return r.afterDeletion(tag, r.putBack(ctx, sharing, was, raw))
	case len(sharing) > 0:
		return &layout.KeptError{Place: r.String(), Tag: tag, Root: was, Sharing: sharing, ByHand: r.byHand(tag, true), Err: bare(said)}
	}
	if gone, said, err = r.takeRoot(ctx, tag, was, raw); err != nil || gone {
		return err
	}
	return &layout.KeptError{Place: r.String(), Tag: tag, Root: was, ByHand: r.byHand(tag, false), Err: bare(said)}
}

// bare returns what a registry said, without the name of the place, which a *layout.KeptError has already. An *AuthError stays one.
func bare(err error) error {
	var request *requestError
	if !errors.As(err, &request) {
		return err
	}
	said := fmt.Errorf("the registry says: %w", request.err)
	if auth := new(AuthError); errors.As(err, &auth) {
		known := *auth
		known.Err = said
		return &known
	}
	return said
}

// isStranger reports whether a registry refused a request without credentials.
func isStranger(err error) bool {
	var auth *AuthError
	return errors.As(err, &auth) && auth.From == ""
}

// take deletes which, a tag or a digest, and reports whether tag is gone. said is why it is not.
func (r *Repository) take(ctx context.Context, tag, which string) (gone bool, said, err error) {
	said = r.try(ctx, "delete "+which, r.writes.host, writing, func(ctx context.Context, _ *watchdog) error {
		return r.writes.delete(ctx, which)
	})
	if said != nil && (!doesNotDelete(said) || isStranger(said)) {
		return false, nil, said
	}
	now, err := r.tagged(ctx, tag)
	if said == nil {
		said = errNoDelete
	}
	return err == nil && now == "", said, err
}

// doesNotDelete reports whether a registry understood a deletion, but does not do it.
func doesNotDelete(err error) bool {
	switch httpStatus(err) {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusNotImplemented:
		return true
	}
	return false
}

// putBack writes tags again that were deleted along with another one.
func (r *Repository) putBack(ctx context.Context, tags []string, root digest.Digest, raw []byte) error {
	for _, tag := range tags {
		now, err := r.tagged(ctx, tag)
		if err == nil && now == "" {
			r.forget(root)
			err = r.putTag(ctx, tag, raw)
		}
		if err != nil {
			return fmt.Errorf("look after the tag %q, which named the same root %s: %w", tag, root, err)
		}
	}
	return nil
}

// forget makes the next caller that needs a root ask the registry for it.
func (r *Repository) forget(root digest.Digest) {
	r.known.forget(root)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifests.forget(root)
}
