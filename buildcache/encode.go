package buildcache

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// encodeObject writes fields, then extra, as compact JSON. The bytes are those that encoding/json gives for a struct
// with the same members, which is how BuildKit writes them.
func encodeObject(extra Extra, fields ...field) ([]byte, error) {
	return appendObject(nil, extra, fields)
}

// appendObject appends what encodeObject writes. Nested objects are appended to the same bytes: encoding/json would check and
// copy each of them once for every object around it.
func appendObject(out []byte, extra Extra, fields []field) ([]byte, error) {
	out = append(out, '{')
	empty := len(out)
	member := func(name string, value any) (err error) {
		if len(out) > empty {
			out = append(out, ',')
		}
		if out, err = appendText(out, name); err != nil {
			return err
		}
		if out, err = appendValue(append(out, ':'), value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	for _, f := range fields {
		if f.omit {
			continue
		}
		if err := member(f.name, f.value); err != nil {
			return nil, err
		}
	}
	for _, m := range extra {
		if err := member(m.Name, m.Value); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// appendValue appends the value of a member. Values that are frequent in a cache are written without encoding/json.
func appendValue(out []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case *string:
		return appendText(out, *v)
	case *digest.Digest:
		return appendText(out, string(*v))
	case *int:
		return strconv.AppendInt(out, int64(*v), 10), nil
	case *int64:
		return strconv.AppendInt(out, *v, 10), nil
	case *Time:
		if v.text != "" {
			return append(out, v.text...), nil
		}
	case **LayerAnnotations:
		return appendObject(out, (*v).Extra, (*v).fields())
	case *[]Layer:
		return appendList(out, *v, func(out []byte, l *Layer) ([]byte, error) { return appendObject(out, l.Extra, l.fields()) })
	case *[]Record:
		return appendList(out, *v, func(out []byte, r *Record) ([]byte, error) { return appendObject(out, r.Extra, r.fields()) })
	case *[]Result:
		return appendList(out, *v, func(out []byte, r *Result) ([]byte, error) { return appendObject(out, r.Extra, r.fields()) })
	case *[]Chain:
		return appendList(out, *v, func(out []byte, c *Chain) ([]byte, error) { return appendObject(out, c.Extra, c.fields()) })
	case *[][]Input:
		return appendList(out, *v, func(out []byte, alternatives *[]Input) ([]byte, error) {
			return appendList(out, *alternatives, func(out []byte, i *Input) ([]byte, error) { return appendObject(out, i.Extra, i.fields()) })
		})
	case *[]Descriptor:
		return appendList(out, *v, func(out []byte, d *Descriptor) ([]byte, error) { return appendObject(out, d.Extra, d.fields()) })
	}
	data, err := json.Marshal(value)
	return append(out, data...), err
}

func appendList[T any](out []byte, list []T, write func([]byte, *T) ([]byte, error)) (_ []byte, err error) {
	if list == nil {
		return append(out, "null"...), nil
	}
	out = append(out, '[')
	for i := range list {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = write(out, &list[i]); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}

// appendText appends a string as encoding/json writes it.
func appendText(out []byte, text string) ([]byte, error) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			data, err := json.Marshal(text)
			return append(out, data...), err
		}
	}
	return append(append(append(out, '"'), text...), '"'), nil
}
