// Package webpage writes results as pages that need nothing but themselves: no network and no other file. What they show is not
// ours, so html/template escapes it, and a content security policy forbids everything that is not ours.
package webpage

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"
)

//go:embed shell.html
var shell string

//go:embed style.css
var style string

//go:embed table.js
var script string

// mark is near the beginning of every page of ours.
const mark = `<meta name="generator" content="ocicache">`

// IsOurs reports whether a file that begins with head is a page that Write wrote.
func IsOurs(head []byte) bool { return bytes.Contains(head, []byte(mark)) }

// Page is what a page is made of.
type Page struct {
	Title string
	// Body is a template that gets Data. It must have no styles and no handlers of its own, which the policy forbids. Tables of the class
	// "sortable" can be sorted by their headers and filtered by an input that names them in data-filter; a cell sorts by its data-v.
	Body     string
	Data     any
	Sortable bool // there are such tables, so the page gets their script
}

// Write writes a page. It writes nothing if the template fails.
func Write(w io.Writer, p Page) error {
	parsed, err := template.New("page").Funcs(functions).Parse(shell)
	if err == nil {
		parsed, err = parsed.New("body").Parse(p.Body)
	}
	if err != nil {
		return err
	}
	policy := "default-src 'none'; style-src " + hashOf(style) + "; base-uri 'none'; form-action 'none'"
	if p.Sortable {
		policy += "; script-src " + hashOf(script)
	}
	var out bytes.Buffer
	err = parsed.ExecuteTemplate(&out, "page", struct {
		Page
		Mark   template.HTML
		Policy string
		Style  template.CSS
		Script template.JS
	}{p, mark, policy, template.CSS(style), template.JS(script)}) //nolint:gosec // both are ours
	if err != nil {
		return err
	}
	_, err = out.WriteTo(w)
	return err
}

// hashOf returns the name by which a policy allows a text.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// functions are available in every template.
var functions = template.FuncMap{
	"bytes":   Bytes,
	"comma":   func(n int64) string { return humanize.Comma(n) },
	"clock":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"plural":  func(n int, of string) string { return english.Plural(n, of, "") },
	"share":   func(n, of int) string { return Share(int64(n), int64(of)) },
	"seconds": func(s float64) string { return fmt.Sprintf("%.1f s", s) },
	"short":   Short,
}

// Bytes returns a number of bytes as text. The number may come from anybody, and be anything.
func Bytes(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// Share returns n in percent of all.
func Share(n, all int64) string {
	return fmt.Sprintf("%.1f", 100*float64(max(n, 0))/float64(max(all, 1)))
}

// shortLength is how many characters of a digest identify it.
const shortLength = 12

// Short shortens a digest to what identifies it.
func Short(d digest.Digest) string {
	_, encoded, found := strings.Cut(d.String(), ":")
	if !found {
		encoded = d.String()
	}
	if runes := []rune(encoded); len(runes) > shortLength {
		return string(runes[:shortLength])
	}
	return encoded
}
