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

// upload is a blob's upload that has begun.
type upload struct {
	address *url.URL
	// login is what the last accepted request logged in with. It goes with requests that have a body, as it is too late to log
	// in once the body is sent.
	login string
}

// begin begins an upload. At least one more request follows, which is counted here.
func (c *client) begin(ctx context.Context) (*upload, error) {
	response, err := c.do(ctx, http.MethodPost, "/blobs/uploads/", nil, nil, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	c.host.pace.begins(writing)
	c.host.pace.follows()
	return nextOf(response)
}

// nextOf reads where an upload continues. The login is sent only to the registry.
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

// send uploads bytes whose number and digest are not known.
func (c *client) send(ctx context.Context, at *upload, body io.ReadCloser) (*upload, error) {
	response, err := c.sendBody(ctx, http.MethodPatch, at.address.String(), at.login, body, -1, taken)
	if err != nil {
		return nil, err
	}
	return nextOf(response)
}

// finish tells the registry the digest of the bytes that were sent. By now that may take another token.
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

// sendBody sends a body that can be sent only once, so it does not log in first.
func (c *client) sendBody(ctx context.Context, method, address, login string, body io.Reader, size int64, want []int) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	request.ContentLength = size
	request.Header.Set("Content-Type", bytesType)
	do := c.auth.Do // which sends the login to no other host
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

// staleError says that the login with which an upload was begun was no longer valid when its bytes were sent.
type staleError struct{ err error }

func (e *staleError) Error() string { return e.err.Error() }
func (e *staleError) Unwrap() error { return e.err }

// renewed does an upload, and repeats it if its token expired in the middle: beginning again takes a new one.
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

// Statuses that say that something was taken: a whole blob, or bytes.
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
