package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// upload is where the bytes of a blob go.
type upload struct {
	address *url.URL
	// login is what the last request was let in with. What has a body goes with it: it can't be asked for when the body is sent.
	login string
}

// begin begins an upload. One request follows at least, and is counted here.
func (c *client) begin(ctx context.Context) (*upload, error) {
	response, err := c.do(ctx, http.MethodPost, "/blobs/uploads/", nil, nil, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	c.host.pace.begins(writing)
	c.host.pace.follows()
	return nextOf(response)
}

// nextOf reads where an upload goes on. The login goes nowhere but to the registry.
func nextOf(response *http.Response) (*upload, error) {
	if err := response.Body.Close(); err != nil {
		return nil, err
	}
	address, err := response.Location()
	if err != nil {
		return nil, fmt.Errorf("where the upload goes on: %w", err)
	}
	next := &upload{address: address}
	if from := response.Request; isWithin(address.Hostname(), from.URL.Hostname()) {
		next.login = from.Header.Get("Authorization")
	}
	return next, nil
}

// push uploads a blob in two requests.
func (c *client) push(ctx context.Context, blob buildcache.Descriptor, body io.ReadCloser) error {
	at, err := c.begin(ctx)
	if err != nil {
		return err
	}
	response, err := c.sendBody(ctx, http.MethodPut, at.end(blob.Digest), at.login, body, blob.Size, created)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// send uploads bytes of which neither the number nor the digest is known.
func (c *client) send(ctx context.Context, at *upload, body io.ReadCloser) (*upload, error) {
	response, err := c.sendBody(ctx, http.MethodPatch, at.address.String(), at.login, body, -1, taken)
	if err != nil {
		return nil, err
	}
	return nextOf(response)
}

// finish says what the bytes were that were sent. By now that may take another token.
func (c *client) finish(ctx context.Context, at *upload, blob digest.Digest) error {
	var response *http.Response
	var err error
	if address := at.end(blob); at.login != "" {
		response, err = c.do(ctx, http.MethodPut, address, http.Header{"Content-Type": {bytesType}}, nil, created...)
	} else {
		response, err = c.sendBody(ctx, http.MethodPut, address, "", nil, 0, created)
	}
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// bytesType is the media type of what is uploaded.
const bytesType = "application/octet-stream"

// sendBody sends what can be sent only once, and asks nobody for leave.
func (c *client) sendBody(ctx context.Context, method, address, login string, body io.Reader, size int64, want []int) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	request.ContentLength = size
	request.Header.Set("Content-Type", bytesType)
	do := c.auth.Do // which sends the login to nobody else
	if login != "" {
		request.Header.Set("Authorization", login)
	} else {
		maps.Copy(request.Header, c.auth.Header)
		do = c.host.http.Do
	}
	response, err := do(request)
	if err != nil {
		return nil, err
	}
	response, err = c.wanted(response, want)
	if login != "" && httpStatus(err) == http.StatusUnauthorized {
		err = &staleError{err}
	}
	return response, err
}

// staleError says that what was good when an upload was begun no longer was when it was sent.
type staleError struct{ err error }

func (e *staleError) Error() string { return e.err.Error() }
func (e *staleError) Unwrap() error { return e.err }

// renewed does an upload, and does it again where its token was no longer good in the middle: to begin it takes a new one.
func renewed(upload func() error) error {
	for tries := 0; ; tries++ {
		err := upload()
		var stale *staleError
		if tries == maxRenewals || !errors.As(err, &stale) {
			return err
		}
	}
}

// maxRenewals is how often an upload is begun again because of its token.
const maxRenewals = 3

// Statuses of what was taken: a whole blob, or bytes.
var (
	created = []int{http.StatusCreated, http.StatusNoContent}
	taken   = []int{http.StatusAccepted, http.StatusOK, http.StatusCreated, http.StatusNoContent}
)

// end returns the address that ends an upload.
func (u *upload) end(blob digest.Digest) string {
	address := *u.address
	query := address.Query()
	query.Set("digest", blob.String())
	address.RawQuery = query.Encode()
	return address.String()
}
