package layout

import (
	"fmt"
	"strings"
)

// isTag reports whether text is a tag that registries accept or that image names in layouts have: these may have slashes, colons and
// the like, and twice the length.
func isTag(text string) bool { return isWord(text, "._-/+@:", 256) }

// isNewTag reports whether text is a tag by the distribution specification.
func isNewTag(text string) bool { return isWord(text, "._-", 128) }

// isWord reports whether text is at most that many letters, digits, _ and, except as the first character, marks.
func isWord(text, marks string, most int) bool {
	for i := range len(text) {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && strings.IndexByte(marks, c) >= 0:
		default:
			return false
		}
	}
	return text != "" && len(text) <= most
}

// cutSlashedTag cuts HOST/REPOSITORY:TAG if TAG has a slash, as branch names have: the name of a repository has no colon.
func cutSlashedTag(name string) (repository, tag string, ok bool) {
	host := strings.IndexByte(name, '/') + 1
	at := strings.IndexByte(name[host:], ':')
	if host == 0 || at < 0 || !strings.Contains(name[host+at:], "/") {
		return "", "", false
	}
	return name[:host+at], name[host+at+1:], true
}

// TagError says that some places, or all, don't accept a tag.
type TagError struct {
	Tag string
	// Meant is the tag to use instead, or the reference with it: it has - for each slash. It is "" if something else is wrong.
	Meant string

	text string
}

func (e *TagError) Error() string { return e.text }

// newTagError returns an error that reads text. If only slashes are wrong with the tag, it proposes one without, after a prefix.
func newTagError(tag, text, prefix string) *TagError {
	e := &TagError{Tag: tag, text: text}
	if without := strings.ReplaceAll(tag, "/", "-"); without != tag && isNewTag(without) {
		e.Meant = prefix + without
	}
	return e
}

// CheckTag returns an error that wraps ErrReference if text can't be a tag.
func CheckTag(text string) error {
	if !isTag(text) {
		return fmt.Errorf("%w: %q is not a valid tag", ErrReference, cut(text))
	}
	return nil
}

// CheckNewTag returns a *TagError for a tag that some places don't accept. Directories may have others, which can still be
// used; new tags are such that the cache can go anywhere.
func CheckNewTag(text string) error {
	if !isNewTag(text) {
		return newTagError(text, fmt.Sprintf("%q is not a valid new tag: want at most 128 letters, digits, _, . and -, not starting with . or -", cut(text)), "")
	}
	return nil
}
