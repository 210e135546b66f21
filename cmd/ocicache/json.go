package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/ocicache/ocicache/internal/progress"
)

// writeJSON writes a result as one object, without null lists and with times in whole seconds of UTC, which jq's fromdate can read.
func writeJSON(w io.Writer, result any) error {
	tidied := reflect.New(reflect.TypeOf(result))
	tidied.Elem().Set(reflect.ValueOf(result))
	tidy(tidied.Elem())
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(tidied.Interface())
}

var marshaler = reflect.TypeFor[json.Marshaler]()

// tidy replaces nil lists by empty ones and truncates times to whole seconds of UTC, in a value that is no longer needed.
func tidy(v reflect.Value) {
	if at, ok := v.Interface().(time.Time); ok {
		v.Set(reflect.ValueOf(at.UTC().Truncate(time.Second)))
		return
	}
	if v.Type().Implements(marshaler) && v.Kind() != reflect.Pointer || reflect.PointerTo(v.Type()).Implements(marshaler) {
		return
	}
	switch v.Kind() { //nolint:exhaustive // the others hold nothing
	case reflect.Pointer:
		if !v.IsNil() {
			tidy(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Field(i); field.CanSet() {
				tidy(field)
			}
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			tidy(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}

// errorLine is an error or a note as a line of JSON progress.
type errorLine struct {
	Event  string `json:"event"` // error or note
	Status int    `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
	Hint   string `json:"hint,omitempty"`
	Note   string `json:"note,omitempty"`
}

// sayLine writes a line of JSON to standard error.
func (a *app) sayLine(line any) {
	raw, err := json.Marshal(line)
	if err == nil {
		fmt.Fprintf(a.stderr, "%s\n", raw)
	}
}

// speaksJSON reports whether standard error is to be lines of JSON, even if parsing the command line failed halfway.
func (a *app) speaksJSON() bool {
	at := slices.Index(a.args, "--progress")
	return a.progress == string(progress.JSON) || slices.Contains(a.args, "--progress="+string(progress.JSON)) ||
		at >= 0 && at+1 < len(a.args) && a.args[at+1] == string(progress.JSON)
}
