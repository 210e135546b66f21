package buildcache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// Extra holds the members of a JSON object that this package does not know, in their order. They are written after the known
// members.
type Extra []Member

// Member is one name and its value, the value as raw JSON.
type Member struct {
	Name  string
	Value json.RawMessage
}

// field ties a member's name to the Go value that holds it. The order of a list of fields is the order on output.
type field struct {
	name  string
	value any  // a pointer, or on output a value
	omit  bool // leave it out on output
}

// decodeObject reads a JSON object into fields and keeps the rest in extra. Names match as encoding/json matches
// them, without regard to case, because BuildKit reads these files with encoding/json. A null changes nothing.
func decodeObject(data []byte, extra *Extra, fields ...field) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return nil
	}
	rest, ok := after(data, '{')
	if !ok {
		return fmt.Errorf("want a JSON object, got %.40s", data)
	}
	for {
		name, value, next, err := nextMember(rest)
		if err != nil || name == nil {
			return err
		}
		rest = next
		if err := decodeMember(name, value, extra, fields); err != nil {
			return err
		}
	}
}

func decodeMember(quoted, value []byte, extra *Extra, fields []field) error {
	name, plain := plainString(quoted)
	if !plain {
		if err := json.Unmarshal(quoted, &name); err != nil {
			return err
		}
	}
	known := find(fields, name)
	if known == nil {
		*extra = append(*extra, Member{Name: name, Value: bytes.Clone(value)})
		return nil
	}
	if decodePlain(value, known.value) {
		return nil
	}
	if err := json.Unmarshal(value, known.value); err != nil {
		return fmt.Errorf("%s: %w", known.name, err)
	}
	return nil
}

// plainString returns the text of a JSON string of unescaped ASCII, as nearly all are. It returns false for any other value.
func plainString(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", false
	}
	value = value[1 : len(value)-1]
	for _, c := range value {
		if c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return "", false
		}
	}
	return string(value), true
}

// decodePlain decodes simple strings and numbers as json.Unmarshal does, at a tenth of its cost. It returns false for any other
// value.
func decodePlain(value []byte, into any) bool {
	switch into := into.(type) {
	case *string:
		text, ok := plainString(value)
		if ok {
			*into = text
		}
		return ok
	case *digest.Digest:
		text, ok := plainString(value)
		if ok {
			*into = digest.Digest(text)
		}
		return ok
	case *int64:
		if len(value) == 0 || len(value) > 18 || value[0] < '1' {
			return false
		}
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err == nil {
			*into = n
		}
		return err == nil
	}
	return false
}

// errObject says that an object is not valid JSON. Usually encoding/json has already rejected it, with a better message.
var errObject = errors.New("malformed JSON object")

// nextMember cuts the next member off the rest of an object: its name, in quotes, and its value. The name is nil at the end of
// the object. A json.Decoder does the same, but takes many times the memory of a small object.
func nextMember(data []byte) (name, value, rest []byte, err error) {
	if rest, ok := after(data, '}'); ok {
		return nil, nil, rest, nil
	}
	if rest, ok := after(data, ','); ok {
		data = rest
	}
	if name, data, err = cutValue(data); err != nil {
		return nil, nil, nil, err
	}
	data, ok := after(data, ':')
	if !ok {
		return nil, nil, nil, errObject
	}
	value, rest, err = cutValue(data)
	return name, value, rest, err
}

// after skips white space and want, and returns what follows, or false if want is not there.
func after(data []byte, want byte) ([]byte, bool) {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 || data[0] != want {
		return data, false
	}
	return data[1:], true
}

// cutValue returns the JSON value that data begins with, and what follows. It finds the end of the value without checking it.
func cutValue(data []byte) (value, rest []byte, err error) {
	data = bytes.TrimLeft(data, " \t\r\n")
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			if inString = !inString; !inString && depth == 0 {
				return data[:i+1], data[i+1:], nil
			}
		case inString:
		case strings.IndexByte("{[", c) >= 0:
			depth++
		case depth > 0 && strings.IndexByte("}]", c) >= 0:
			if depth--; depth == 0 {
				return data[:i+1], data[i+1:], nil
			}
		case depth == 0 && endsWord(c):
			return cutWord(data, i)
		}
	}
	return nil, nil, errObject
}

// endsWord reports whether a byte ends a number, true, false or null.
func endsWord(c byte) bool { return strings.IndexByte(",:}] \t\r\n", c) >= 0 }

func cutWord(data []byte, end int) (value, rest []byte, err error) {
	if end == 0 {
		return nil, nil, errObject
	}
	return data[:end], data[end:], nil
}

// checkValues fails with a *ValuesError if raw, taken as JSON, has more than limit values; objects, arrays and nulls count
// twice. In Go each value may take a hundred times its bytes, so they are counted before any is decoded.
func checkValues(what string, raw []byte, limit int) error {
	count, inString := 1, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == '{' || c == '[' || c == ',' || c == 'n'):
			count++
		}
	}
	if count > limit {
		return &ValuesError{What: what, Count: count, Limit: limit}
	}
	return nil
}

// ValuesError says that a JSON text has more values than anybody writes, and more than we want in memory at once.
type ValuesError struct {
	What         string
	Count, Limit int
}

func (e *ValuesError) Error() string {
	return fmt.Sprintf("%s has %d JSON values, the limit is %d", e.What, e.Count, e.Limit)
}

func find(fields []field, name string) *field {
	for i := range fields {
		if strings.EqualFold(fields[i].name, name) {
			return &fields[i]
		}
	}
	return nil
}
