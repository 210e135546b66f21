package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/distribution/registry/api/errcode"
)

// maxAnswer bounds what is read of an error answer, in bytes.
const maxAnswer = 64 << 10

// answerError is an unexpected answer from a registry.
type answerError struct {
	status     int
	said       errcode.Errors // what it says in the specification's format
	body       string         // else the beginning of its body
	retryAfter time.Duration  // 0 if it does not say
}

func (e *answerError) Error() string {
	answered := fmt.Sprintf("it answered %d %s", e.status, http.StatusText(e.status))
	switch {
	case len(e.said) > 0 && e.status < http.StatusInternalServerError: // where the code says more than the status
		return saidOnce(e.said).Error()
	case len(e.said) > 0:
		return answered + ": " + saidOnce(e.said).Error()
	}
	return fmt.Sprintf("%s: %q", answered, e.body)
}

// saidOnce leaves out messages that only repeat their code's, which would be shown twice.
func saidOnce(said errcode.Errors) errcode.Errors {
	once := slices.Clone(said)
	for i, err := range once {
		if full := (errcode.Error{}); errors.As(err, &full) && strings.EqualFold(full.Message, full.Code.Error()) {
			once[i] = full.Code
		}
	}
	return once
}

// refusedBy returns an error answer as an error.
func refusedBy(response *http.Response) error {
	e := &answerError{status: response.StatusCode, retryAfter: retryAfter(response)}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err == nil && json.Unmarshal(raw, &e.said) != nil || len(e.said) == 0 {
		e.said = nil
		e.body = string(raw[:min(len(raw), maxShown)])
	}
	return errors.Join(e, err)
}

// maxShown bounds what is shown of an answer that is not in the specification's format, in bytes.
const maxShown = 512

// maxRetryAfter bounds the number of seconds in a Retry-After.
const maxRetryAfter = 1 << 30

// retryAfter returns how long to wait, which the header gives in seconds or as a date.
func retryAfter(response *http.Response) time.Duration {
	text := strings.TrimSpace(response.Header.Get("Retry-After"))
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, maxRetryAfter)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// answer returns what it says, in a form to compare.
func (e *answerError) answer() answer {
	a := answer{status: e.status, text: strings.ToLower(e.body)}
	for _, err := range e.said {
		var full errcode.Error
		var code errcode.ErrorCode
		switch {
		case errors.As(err, &full):
			a.code = full.Code
			a.text += strings.ToLower(fmt.Sprint(full.Error(), " ", full.Detail, " "))
		case errors.As(err, &code):
			a.code = code
			a.text += strings.ToLower(code.Error())
		}
	}
	return a
}
