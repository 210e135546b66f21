package registry

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"

	"github.com/ocicache/ocicache/buildcache"
)

// About says what a refusal is about. The names are part of the interface: scripts match them.
type About string

// What refusals are about.
const (
	AboutForm       About = "form"          // the root is a list, or one of the wrong kind
	AboutPlatform   About = "platform"      // the root is a list whose entries have no platform
	AboutConfigType About = "config-type"   // the config is not that of an image
	AboutEmpty      About = "empty"         // the root has no layers
	AboutSize       About = "size"          // the root, or a layer, is too large
	AboutTag        About = "tag-immutable" // the tag exists and may not be moved
	AboutReadOnly   About = "read-only"     // nothing may be written there
	AboutOther      About = "other"
)

// RefusedError says that a registry does not take what it was sent, as opposed to being broken, being busy, or wanting
// other credentials. It will not take the same thing later either.
type RefusedError struct {
	Host        string
	About       About
	Form        buildcache.Form // of the root, or "" for a blob
	MediaType   string          // of what was refused
	Size        int64           // of what was refused, in bytes
	Explanation string
	NextStep    string          // what helps, in words
	Try         buildcache.Form // a form that may be taken instead, "" for none
	Verify      string          // the profile with which verifying the cache tells more, AnyProfile or NoProfile; "" if it does not
	Err         error
}

func (e *RefusedError) Error() string {
	what := "this blob"
	if e.Form != "" {
		what = "this root (" + string(e.Form) + ")"
	}
	if e.About == AboutSize && e.Size > 0 {
		what += fmt.Sprintf(" of %d bytes", e.Size)
	}
	return fmt.Sprintf("%v; %s refuses %s: %s", e.Err, e.Host, what, e.Explanation)
}

// Unwrap returns what the registry said.
func (e *RefusedError) Unwrap() error { return e.Err }

// IsAboutForm reports whether the registry may take the same cache in another form.
func (e *RefusedError) IsAboutForm() bool {
	return e.About == AboutForm || e.About == AboutPlatform || e.About == AboutConfigType
}

// explained returns err as a *RefusedError if a registry refused what it was sent, a root or a blob, and err itself if
// something else went wrong.
func explained(host string, sent buildcache.Descriptor, err error) error {
	said, ok := answerOf(err)
	form := formOf(sent.MediaType)
	var already *RefusedError
	if !ok || !said.refuses(form) || errors.As(err, &already) {
		return err
	}
	known := knownRefusal{about: AboutOther, explanation: unsaid, next: say("ask those who run it")}
	if i := slices.IndexFunc(refusals, func(r knownRefusal) bool { return r.is(said, form) }); i >= 0 {
		known = refusals[i]
	}
	return &RefusedError{
		Host: host, About: known.about, Form: form, MediaType: sent.MediaType, Size: sent.Size, Explanation: known.explanation,
		NextStep: known.next.text, Try: known.next.to, Verify: known.next.verify, Err: err,
	}
}

// formOf returns the form that a media type stands for, or "".
func formOf(mediaType string) buildcache.Form {
	for _, form := range append(buildcache.Forms(), buildcache.DockerManifest) {
		if form.MediaType() == mediaType {
			return form
		}
	}
	return ""
}

// answer is what a registry said when it did not do what it was asked.
type answer struct {
	status int
	code   errcode.ErrorCode // 0 for answers without one; the library knows those of distribution only
	text   string            // code, message and details, or the whole body, in lower case
}

// answerOf finds the registry's answer in an error. It returns false if there is none.
func answerOf(err error) (answer, bool) {
	var own *answerError
	if errors.As(err, &own) {
		return own.answer(), true
	}
	return answer{}, false
}

// What registries say about tags that can't be moved, and when nothing may be written. None of these words can
// be part of a repository's name.
var (
	wordsImmutable = []string{"is immutable", "as immutable", "immutable tag", "cannot be overwritten", "can't be overwritten"}
	wordsReadOnly  = []string{"is read-only", "currently read-only", "read-only mode", "is read only", "read only mode"}
	wordsClass     = "unknown manifest class for"
)

// refuses reports whether the registry understood the request and could have done it, but will not. Failures on the way, for
// lack of credentials or time, or because an upload was lost, do not count.
func (a answer) refuses(form buildcache.Form) bool {
	switch a.code {
	case errcode.ErrorCodeUnauthorized, errcode.ErrorCodeTooManyRequests, errcode.ErrorCodeUnavailable,
		v2.ErrorCodeBlobUploadUnknown, v2.ErrorCodeBlobUploadInvalid, v2.ErrorCodeDigestInvalid:
		return false
	case v2.ErrorCodeSizeInvalid, v2.ErrorCodeBlobUnknown:
		return form != ""
	case errcode.ErrorCodeDenied:
		return a.says(wordsClass) || a.says(wordsImmutable...) || a.says(wordsReadOnly...)
	}
	switch a.status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	case http.StatusForbidden:
		return a.says(wordsImmutable...)
	}
	return a.status >= 400 && a.status < 500
}

// says reports whether one of some words, in lower case, is in the answer.
func (a answer) says(words ...string) bool {
	for _, word := range words {
		if strings.Contains(a.text, word) {
			return true
		}
	}
	return false
}

// condition reports whether an answer to a root of some form, or to a blob (""), is the one it describes.
type condition func(said answer, form buildcache.Form) bool

// knownRefusal is an answer whose meaning is known.
type knownRefusal struct {
	is          condition
	about       About
	explanation string
	next        nextStep
}

// nextStep is what helps against a refusal: another form, and words to go with it.
type nextStep struct {
	to     buildcache.Form
	verify string
	text   string
}

// What a cache may be verified with instead of a named profile: any, if the registry is not known, or none, if the cache itself is wrong.
const (
	AnyProfile = "any"
	NoProfile  = "none"
)

func verify(profile, text string) nextStep { return nextStep{verify: profile, text: text} }

func say(text string) nextStep { return nextStep{text: text} }

func send(form buildcache.Form, more string) nextStep {
	return nextStep{to: form, text: "send it in the form " + string(form) + more}
}

const (
	asList = "its entries are layers and a cache config, and this registry takes manifests only"
)

func saying(words ...string) condition {
	return func(said answer, _ buildcache.Form) bool { return said.says(words...) }
}

// ofRoot, ofList, ofManifest, ofArtifact and ofBlob narrow a condition to what was sent: a root, a root that is a list, one
// that is not, one that is an artifact, and a blob.
func ofRoot(is condition) condition {
	return func(said answer, form buildcache.Form) bool { return form != "" && is(said, form) }
}

func ofList(is condition) condition {
	return func(said answer, form buildcache.Form) bool { return form.IsList() && is(said, form) }
}

func ofManifest(is condition) condition {
	return func(said answer, form buildcache.Form) bool { return form != "" && !form.IsList() && is(said, form) }
}

func ofArtifact(is condition) condition {
	return func(said answer, form buildcache.Form) bool { return form == buildcache.Artifact && is(said, form) }
}

func ofBlob(is condition) condition {
	return func(said answer, form buildcache.Form) bool { return form == "" && is(said, form) }
}

func coded(codes ...errcode.ErrorCode) condition {
	return func(said answer, _ buildcache.Form) bool { return slices.Contains(codes, said.code) }
}

func withStatus(statuses ...int) condition {
	return func(said answer, _ buildcache.Form) bool { return slices.Contains(statuses, said.status) }
}

func uncoded(status int) condition {
	return func(said answer, _ buildcache.Form) bool { return said.status == status && said.code == 0 }
}

func either(a, b condition) condition {
	return func(said answer, form buildcache.Form) bool { return a(said, form) || b(said, form) }
}

func anything(answer, buildcache.Form) bool { return true }
