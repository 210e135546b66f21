package buildcache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// SalvageIndex reads what it can of an index.json that ParseIndex refuses. A value of the wrong kind is corrected if it is
// clear what was meant, else it is left out; the rest of the same entry, and of the file, stays. changed says so for each such
// value. torn is the text from where it stops being JSON, if there may be entries in it.
func SalvageIndex(raw []byte) (index *Index, torn []byte, changed []string) {
	rest, ok := after(raw, '{')
	if !ok {
		return NewIndex(), raw, nil
	}
	s := &salvager{index: &Index{schemaVersion: NewIndex().schemaVersion, lists: 1}}
	torn = s.members(rest)
	if torn != nil && s.index.mediaType == "" { // it may have come later
		s.index.mediaType = MediaTypeOCIIndex
	}
	return s.index, torn, s.changed
}

// SalvageDescriptor does for an entry what SalvageIndex does for the file. It returns false for an entry that names nothing.
func SalvageDescriptor(raw []byte) (d Descriptor, changed []string, ok bool) {
	if json.Unmarshal(raw, new(ocispec.Descriptor)) == nil && json.Unmarshal(raw, &d) == nil {
		return d, nil, CheckDigest(d.Digest) == nil
	}
	d = Descriptor{}
	rest, ok := after(raw, '{')
	if !ok || !json.Valid(raw) {
		return d, nil, false
	}
	for {
		name, value, next, err := nextMember(rest)
		if err != nil || name == nil {
			return d, changed, err == nil && CheckDigest(d.Digest) == nil
		}
		rest = next
		right, what := setRight(name, value, new(ocispec.Descriptor))
		if what != "" {
			changed = append(changed, what)
		}
		if right != nil && decodeMember(name, right, &d.Extra, d.fields()) != nil {
			return d, changed, false // can't happen after setRight has checked it
		}
	}
}

// salvager reads an index.
type salvager struct {
	index   *Index
	changed []string
	listed  bool // a list of entries was read to its end
	seen    int  // entries
}

// members reads the members of the index. It returns the text from where they are torn, if there may be entries in it.
func (s *salvager) members(rest []byte) (torn []byte) {
	for {
		if behind, ok := after(rest, '}'); ok {
			return s.unlisted(behind)
		}
		name, value, ok := cutName(rest)
		if !ok {
			return s.unlisted(rest)
		}
		if list, isList := after(value, '['); isList && strings.EqualFold(name, "manifests") {
			if rest, torn = s.list(list); torn != nil {
				return torn
			}
			s.listed = true
			continue
		}
		value, next, err := cutValue(value)
		if err != nil || !json.Valid(value) {
			s.changed = append(s.changed, fmt.Sprintf("%q is torn, and is left out", name))
			return s.unlisted(rest)
		}
		s.member(name, value)
		rest = next
	}
}

// unlisted returns text if there may be entries in it, because no list of them was read so far. Text after a list is from an
// earlier state of the file.
func (s *salvager) unlisted(text []byte) []byte {
	if s.listed || len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	return text
}

// cutName cuts the name of the next member, and the colon, off the rest of an object.
func cutName(rest []byte) (name string, value []byte, ok bool) {
	if next, ok := after(rest, ','); ok {
		rest = next
	}
	quoted, value, err := cutValue(rest)
	if err != nil || json.Unmarshal(quoted, &name) != nil {
		return "", nil, false
	}
	value, ok = after(value, ':')
	return name, value, ok
}

// list reads entries up to the end of their list. It returns what follows or, if they are torn, the text from there.
func (s *salvager) list(rest []byte) (next, torn []byte) {
	for {
		if next, ok := after(rest, ']'); ok {
			return next, nil
		}
		if next, ok := after(rest, ','); ok {
			rest = next
			continue
		}
		entry, next, err := cutValue(rest)
		if err != nil || !json.Valid(entry) {
			return nil, rest
		}
		s.entry(entry)
		rest = next
	}
}

// entry keeps an entry, as far as it can be read.
func (s *salvager) entry(raw []byte) {
	where := fmt.Sprintf("manifests[%d]", s.seen)
	s.seen++
	d, changed, ok := SalvageDescriptor(raw)
	if !ok {
		s.changed = append(s.changed, fmt.Sprintf("%s is no entry with a digest, and is left out: %s", where, shorten(raw)))
		return
	}
	for _, what := range changed {
		s.changed = append(s.changed, where+": "+what)
	}
	s.index.Entries = append(s.index.Entries, d)
}

// member keeps a member of the index itself.
func (s *salvager) member(name string, value []byte) {
	quoted, err := json.Marshal(name)
	if err != nil {
		return // can't happen with a string
	}
	if strings.EqualFold(name, "manifests") {
		if string(value) != "null" {
			s.changed = append(s.changed, fmt.Sprintf("%s is no list, and is left out: %s", quoted, shorten(value)))
		}
		return
	}
	right, what := setRight(quoted, value, new(ocispec.Index))
	if right != nil && decodeMember(quoted, right, &s.index.extra, s.index.fields()) != nil {
		what = fmt.Sprintf("%s can't be read, and is left out: %s", quoted, shorten(value))
	}
	if what != "" {
		s.changed = append(s.changed, what)
	}
}

// setRight returns the value of a member as it has to be for BuildKit, which reads it into as, or nil if that can't be told.
// what says what was changed, and is empty if nothing was.
func setRight(quoted, value []byte, as any) (right []byte, what string) {
	fits := func(value []byte) bool {
		return json.Unmarshal(bytes.Join([][]byte{{'{'}, quoted, {':'}, value, {'}'}}, nil), as) == nil
	}
	if fits(value) {
		return value, ""
	}
	var name string
	if json.Unmarshal(quoted, &name) == nil {
		right = meant(strings.ToLower(name), value)
	}
	if right == nil || !fits(right) {
		return nil, fmt.Sprintf("%s can't be read, and is left out: %s", quoted, shorten(value))
	}
	return right, fmt.Sprintf("%s is %s, and is taken for %s", quoted, shorten(value), shorten(right))
}

// meant returns what a value of the wrong kind was clearly meant to be, or nil.
func meant(name string, value []byte) []byte {
	var text string
	isText := json.Unmarshal(value, &text) == nil
	switch {
	case (name == "size" || name == "schemaversion") && isText:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.AppendInt(nil, n, 10)
		}
	case name == "urls" && isText:
		return bytes.Join([][]byte{{'['}, value, {']'}}, nil)
	case name == "platform" && isText:
		return meantPlatform(text)
	case name == "annotations":
		return meantTexts(value)
	}
	return nil
}

// meantPlatform returns a platform that was written as OS/ARCHITECTURE, so that an image's entry remains one.
func meantPlatform(text string) []byte {
	system, architecture, _ := strings.Cut(text, "/")
	right, err := json.Marshal(ocispec.Platform{OS: system, Architecture: architecture})
	if err != nil {
		return nil
	}
	return right
}

// meantTexts returns annotations in which all values that were not texts have become texts.
func meantTexts(value []byte) []byte {
	var values map[string]json.RawMessage
	if json.Unmarshal(value, &values) != nil {
		return nil
	}
	texts := make(map[string]string, len(values))
	for name, raw := range values {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		texts[name] = text
	}
	right, err := json.Marshal(texts)
	if err != nil {
		return nil
	}
	return right
}

// shorten returns the beginning of a JSON text, fit for a message.
func shorten(raw []byte) string {
	const most = 100
	text := strings.ToValidUTF8(string(raw), "?")
	text = strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
