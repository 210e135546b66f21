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

// maxAnswer bounds what is read of an answer that is an error, in bytes.
const maxAnswer = 64 << 10

// answerError is an answer of a registry that was not expected.
type answerError struct {
	status     int
	said       errcode.Errors // what it says in the way of the specification
	body       string         // else the beginning of what it says
	retryAfter time.Duration  // 0 where it does not say
}

func (e *answerError) Error() string {
	if len(e.said) > 0 {
		return saidOnce(e.said).Error()
	}
	return fmt.Sprintf("StatusCode: %d, %q", e.status, e.body)
}

// saidOnce leaves out messages that are those of their codes, which would be said twice.
func saidOnce(said errcode.Errors) errcode.Errors {
	once := slices.Clone(said)
	for i, err := range once {
		if full := (errcode.Error{}); errors.As(err, &full) && strings.EqualFold(full.Message, full.Code.Error()) {
			once[i] = full.Code
		}
	}
	return once
}

// refusedBy reads an answer that is an error.
func refusedBy(response *http.Response) error {
	e := &answerError{status: response.StatusCode, retryAfter: retryAfter(response)}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err == nil && json.Unmarshal(raw, &e.said) != nil || len(e.said) == 0 {
		e.said = nil
		e.body = string(raw[:min(len(raw), maxShown)])
	}
	return errors.Join(e, err)
}

// maxShown bounds what of an answer is shown that is not in the way of the specification.
const maxShown = 512

// maxRetryAfter bounds what is taken for a number of seconds.
const maxRetryAfter = 1 << 30

// retryAfter reads when to try again: seconds, or a date.
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

// answer returns what it says for comparing.
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
