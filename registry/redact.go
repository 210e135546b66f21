package registry

import (
	"fmt"
	"regexp"
)

// query is what follows the question mark in a URL. Registries, and the stores behind them, put signatures and upload
// states there.
var query = regexp.MustCompile(`(https?://[^\s"?]*)\?[^\s"]*`)

// Redact takes out of a message what might be a secret: the queries of URLs.
func Redact(text string) string { return query.ReplaceAllString(text, "$1?...") }

// requestError says what was being done to which repository, and shows no secrets.
type requestError struct {
	repository, what string
	err              error
}

func (e *requestError) Error() string {
	return Redact(fmt.Sprintf("%s: %s: %v", e.repository, e.what, e.err))
}

func (e *requestError) Unwrap() error { return e.err }
