package buildcache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Extra holds the members of a JSON object that this package gives no meaning, in the order in which they stood.
// They are written again behind the known members.
type Extra []Member

// Member is one name and its value, the value as raw JSON.
type Member struct {
	Name  string
	Value json.RawMessage
}

// field ties a member's name to the Go value that holds it. The order of a list of fields is the order on output.
type field struct {
	name  string
	value any  // a pointer
	omit  bool // leave it out on output
}

// decodeObject reads a JSON object into fields and keeps the rest in extra. Names match as encoding/json matches
// them, without regard to case, because BuildKit reads these files with encoding/json. A null changes nothing.
func decodeObject(data []byte, extra *Extra, fields ...field) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	start, err := dec.Token()
	if err != nil {
		return err
	}
	if start != json.Delim('{') {
		return fmt.Errorf("want a JSON object, got %v", start)
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string) // the decoder lets nothing but strings stand here
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		known := find(fields, name)
		if known == nil {
			*extra = append(*extra, Member{Name: name, Value: value})
			continue
		}
		if err := json.Unmarshal(value, known.value); err != nil {
			return fmt.Errorf("%s: %w", known.name, err)
		}
	}
	_, err = dec.Token()
	return err
}

func find(fields []field, name string) *field {
	for i := range fields {
		if strings.EqualFold(fields[i].name, name) {
			return &fields[i]
		}
	}
	return nil
}

// encodeObject writes fields, then extra, as compact JSON. The bytes are those that encoding/json gives for a struct
// with the same members, which is how BuildKit writes them.
func encodeObject(extra Extra, fields ...field) ([]byte, error) {
	var out bytes.Buffer
	member := func(name string, value any) error {
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		data, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		out.Write(key)
		out.WriteByte(':')
		out.Write(data)
		return nil
	}
	out.WriteByte('{')
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
	out.WriteByte('}')
	return out.Bytes(), nil
}
