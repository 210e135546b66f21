package registry

import (
	"encoding/json"
	"testing"
)

// TestAnswerSaysItOnce says that a message that is that of its code is not said twice.
func TestAnswerSaysItOnce(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{"a":1}}]}`: "manifest invalid",
		`{"errors":[{"code":"MANIFEST_INVALID","message":"no list, please"}]}`:                   "manifest invalid: no list, please",
	} {
		e := &answerError{status: 400}
		if err := json.Unmarshal([]byte(raw), &e.said); err != nil {
			t.Fatal(err)
		}
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
