package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ocicache/ocicache/buildcache"
)

// client asks one registry about one repository. containers/image provides the credentials and says how a registry is reached.
// The requests are our own, because the waits of that library after a 429 can't be bounded, and it does not renew tokens that
// expire.
type client struct {
	host   *host
	path   string // of the repository
	auth   *auth.Client
	pushes func() bool // whether the right to push is requested
}

// newClient returns a client for a repository. insecure says that its registry may be reached without verification.
func (r *Repository) newClient(name reference.Named, insecure bool) (*client, error) {
	host, err := r.options.Hosts.host(reference.Domain(name), insecure, r.sys, r.options.Rate, r.options.delay())
	if err != nil {
		return nil, err
	}
	login := &auth.Client{Client: host.http, Cache: auth.NewCache(), ClientID: "ocicache", Credential: r.credential}
	if r.options.UserAgent != "" {
		login.SetUserAgent(r.options.UserAgent)
	}
	return &client{host: host, path: reference.Path(name), auth: login, pushes: r.pushes.Load}, nil
}

// credential returns our credentials, as containers/image finds them.
func (r *Repository) credential(ctx context.Context, _ string) (auth.Credential, error) {
	sys, err := r.session(ctx)
	if err != nil {
		return auth.EmptyCredential, err
	}
	if sys.DockerBearerRegistryToken != "" {
		return auth.Credential{AccessToken: sys.DockerBearerRegistryToken}, nil
	}
	found, err := config.GetCredentialsForRef(sys, r.name)
	if err != nil {
		return auth.EmptyCredential, err
	}
	return auth.Credential{Username: found.Username, Password: found.Password, RefreshToken: found.IdentityToken}, nil
}

// connect makes the clients of a repository: one for writing, and those for reading, mirrors first, as registries.conf says.
func (r *Repository) connect() (err error) {
	configured, err := sysregistriesv2.FindRegistry(r.sys, r.name.Name())
	if err != nil {
		return fmt.Errorf("registries.conf: %w", err)
	}
	insecure := func(configured bool) bool {
		if said := r.sys.DockerInsecureSkipTLSVerify; said != types.OptionalBoolUndefined {
			return said == types.OptionalBoolTrue
		}
		return configured
	}
	if configured == nil {
		r.writes, err = r.newClient(r.name, insecure(false))
		r.reads = []*client{r.writes}
		return err
	}
	if configured.Blocked {
		return fmt.Errorf("registries.conf blocks the registry %s", configured.Prefix)
	}
	if r.writes, err = r.newClient(r.name, insecure(configured.Insecure)); err != nil {
		return err
	}
	if r.options.Push { // what was written is read from where it was written to
		r.reads = []*client{r.writes}
		return nil
	}
	sources, err := configured.PullSourcesFromReference(r.name)
	if err != nil {
		return fmt.Errorf("registries.conf: %w", err)
	}
	if r.options.Direct {
		sources = sources[len(sources)-1:] // the registry comes after the mirrors
	}
	for _, source := range sources {
		c, err := r.newClient(source.Reference, insecure(source.Endpoint.Insecure))
		if err != nil {
			return err
		}
		r.reads = append(r.reads, c)
	}
	return nil
}

// do sends a request for something below the repository's name, or to an address. The caller closes the response; a status
// other than those in want is an error.
func (c *client) do(ctx context.Context, method, what string, header http.Header, body []byte, want ...int) (*http.Response, error) {
	base, err := c.host.address(ctx)
	if err != nil {
		return nil, err
	}
	address := what
	if strings.HasPrefix(what, "/") {
		address = base + "/v2/" + c.path + what
	}
	request, err := http.NewRequestWithContext(c.withScope(ctx), method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		request.Header[key] = values
	}
	response, err := c.auth.Do(request)
	if err != nil {
		return nil, err
	}
	return c.wanted(response, want)
}

// wanted returns an answer with one of the wanted statuses, and turns any other into an error.
func (c *client) wanted(response *http.Response, want []int) (*http.Response, error) {
	if slices.Contains(want, response.StatusCode) {
		c.host.pace.well()
		return response, nil
	}
	defer func() { _ = response.Body.Close() }() // the answer is an error already
	return nil, refusedBy(response)
}

// withScope adds to ctx what a token has to allow.
func (c *client) withScope(ctx context.Context) context.Context {
	actions := []string{auth.ActionPull}
	if c.pushes() {
		actions = append(actions, auth.ActionPush)
	}
	return auth.AppendScopesForHost(ctx, c.host.hostname(), auth.ScopeRepository(c.path, actions...))
}

// manifest reads a manifest by its tag or its digest, and returns the digest that the registry states for it, "" if it states
// none.
func (c *client) manifest(ctx context.Context, which string) (raw []byte, said digest.Digest, err error) {
	header := http.Header{"Accept": manifest.DefaultRequestedManifestMIMETypes}
	response, err := c.do(ctx, http.MethodGet, "/manifests/"+which, header, nil, http.StatusOK)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	raw, err = io.ReadAll(io.LimitReader(response.Body, buildcache.MaxRoot+1))
	if err == nil && int64(len(raw)) > buildcache.MaxRoot {
		err = &buildcache.SizeError{What: "manifest " + which, Size: int64(len(raw)), Limit: buildcache.MaxRoot}
	}
	return raw, digest.Digest(response.Header.Get("Docker-Content-Digest")), err
}

// put writes a manifest under its digest, or to a tag.
func (c *client) put(ctx context.Context, which string, raw []byte) error {
	header := http.Header{"Content-Type": {manifest.GuessMIMEType(raw)}}
	response, err := c.do(ctx, http.MethodPut, "/manifests/"+which, header, raw, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// size returns the size of a blob, -1 if the registry does not tell, or false if there is none.
func (c *client) size(ctx context.Context, blob digest.Digest) (int64, bool, error) {
	response, err := c.do(ctx, http.MethodHead, "/blobs/"+blob.String(), nil, nil, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return 0, false, err
	}
	if has := response.StatusCode == http.StatusOK; !has || response.ContentLength >= 0 {
		return response.ContentLength, has, response.Body.Close()
	}
	if err := response.Body.Close(); err != nil {
		return 0, false, err
	}
	size, err := c.sizeByRange(ctx, blob)
	return size, true, err
}

// sizeByRange returns the size of a blob by the answer to a request for its first byte, -1 if that does not tell either.
func (c *client) sizeByRange(ctx context.Context, blob digest.Digest) (int64, error) {
	response, err := c.do(ctx, http.MethodGet, "/blobs/"+blob.String(), http.Header{"Range": {"bytes=0-0"}}, nil,
		http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	if err != nil {
		return 0, err
	}
	size := response.ContentLength
	if response.StatusCode != http.StatusOK { // Content-Range: bytes 0-0/SIZE
		_, total, _ := strings.Cut(response.Header.Get("Content-Range"), "/")
		if size, err = strconv.ParseInt(total, 10, 64); err != nil {
			size = -1
		}
	}
	return size, response.Body.Close()
}

// Bounds of a list of tags.
const (
	tagsOnPage = 1000
	maxTags    = 1 << 20
	maxPage    = 16 << 20 // bytes
	// maxTagPages is how many pages a list may have. Where there are many tags, a page has at least fifty.
	maxTagPages = 10_000
)

// ErrTooManyPages says that a registry's list of tags does not end.
var ErrTooManyPages = fmt.Errorf("its list of tags has more than %d pages", maxTagPages)

// tags lists the tags, in no more than the given number of pages. more is called between two pages.
func (c *client) tags(ctx context.Context, pages int, more func() error) ([]string, error) {
	var tags []string
	next := fmt.Sprintf("/tags/list?n=%d", tagsOnPage)
	for range pages {
		page, after, err := c.page(ctx, next)
		if err != nil {
			return nil, err
		}
		tags = append(tags, page...)
		switch {
		case len(tags) > maxTags:
			return nil, fmt.Errorf("there are more than %d tags", maxTags)
		case after == next || after == "": // or it would go on for ever
			return tags, nil
		}
		next = after
		if err := more(); err != nil {
			return nil, err
		}
	}
	return nil, ErrTooManyPages
}

// page reads one page of a list of tags, and returns where the next one is, "" if there is none.
func (c *client) page(ctx context.Context, what string) (tags []string, next string, err error) {
	response, err := c.do(ctx, http.MethodGet, what, nil, nil, http.StatusOK)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxPage)).Decode(&list); err != nil {
		return nil, "", fmt.Errorf("read the list of tags: %w", err)
	}
	next, err = nextPage(response)
	return list.Tags, next, err
}

// nextPage reads where a list continues: Link: </v2/NAME/tags/list?last=x>; rel="next" (RFC 5988). That must be at the same
// registry.
func nextPage(response *http.Response) (string, error) {
	link, _, _ := strings.Cut(strings.TrimPrefix(response.Header.Get("Link"), "<"), ">")
	if link == "" {
		return "", nil
	}
	next, err := url.Parse(link)
	if err != nil {
		return "", fmt.Errorf("where the list of tags goes on: %w", err)
	}
	next = response.Request.URL.ResolveReference(next)
	if next.Host != response.Request.URL.Host || next.Scheme != response.Request.URL.Scheme {
		return "", fmt.Errorf("the list of tags goes on at another host, %s", next.Host)
	}
	return next.String(), nil
}

// mount asks for a blob of another repository to be added to this one, without sending it. It returns false if the registry
// does not do that.
func (c *client) mount(ctx context.Context, blob digest.Digest, from string) (bool, error) {
	ctx = auth.AppendScopesForHost(ctx, c.host.hostname(), auth.ScopeRepository(from, auth.ActionPull))
	query := url.Values{"mount": {blob.String()}, "from": {from}}
	response, err := c.do(ctx, http.MethodPost, "/blobs/uploads/?"+query.Encode(), nil, nil, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return false, err
	}
	if err := response.Body.Close(); err != nil || response.StatusCode == http.StatusCreated {
		return err == nil, err
	}
	// It has begun an upload instead, which is not continued.
	location, err := response.Location()
	if err != nil || location.Host != response.Request.URL.Host {
		return false, nil //nolint:nilerr // it then ends by itself
	}
	response, err = c.do(ctx, http.MethodDelete, location.String(), nil, nil, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return false, nil //nolint:nilerr // as above
	}
	return false, response.Body.Close()
}
