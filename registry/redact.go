package registry

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
)

// What may be secret in an address: the query, where registries and the stores behind them put signatures and the state
// of uploads, and a password before the host.
var (
	query    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(https?://[^\s"?]*)\?[^\s"]*`) })
	userinfo = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`([a-z]+://)[^\s"/@:]*:[^\s"/@]*@`) })
)

// redact removes from a message what may be a secret.
func redact(text string) string {
	return userinfo().ReplaceAllString(query().ReplaceAllString(text, "$1?..."), "$1...@")
}

// ErrTooManyRequests says that a registry answered 429 each time that it was asked.
var ErrTooManyRequests = errors.New("too many requests")

// requestError says what was being done to which repository. It shows no secrets, and neither does anything that can be
// unwrapped from it: the library's errors are found by their types and values only.
type requestError struct {
	repository, what string
	host             string
	answered         bool // whether the registry had answered anything before
	err              error
}

func (e *requestError) Error() string {
	return redact(fmt.Sprintf("%s: %s: %v", e.repository, e.what, e.err))
}

// Is is for errors.Is.
func (e *requestError) Is(target error) bool {
	return target == ErrTooManyRequests && httpStatus(e.err) == http.StatusTooManyRequests || errors.Is(e.err, target)
}

// As is for errors.As.
func (e *requestError) As(target any) bool { return errors.As(e.err, target) }
