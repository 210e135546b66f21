package explain

import (
	"regexp"
	"strings"
	"sync"

	"github.com/ocicache/ocicache/explain/llb"
)

// hidden replaces what must not be shown.
const hidden = "…"

// Addresses with what may be secret in them: user and password, and the query, which may carry signatures. Only a blank ends
// an address: whatever else would end it in a shell may be part of a password. Image names have none of these.
var (
	address  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://\S+`) })
	another  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://`) })
	userInfo = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(?:[^/?#]*@|[^/?#@]*:[^/?#@]*[^/?#@0-9][^/?#@]*[/?#].*@)`)
	}) // what follows the colon is no port, so it is a password
	query = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\?[^#]*?(['"\x60;)]*(?:#|$))`) })
)

// withoutSecrets returns text with users, passwords and queries removed from the addresses in it.
func withoutSecrets(text string) string {
	return address().ReplaceAllStringFunc(text, func(text string) string {
		var shown strings.Builder
		for text != "" { // another address may follow without a blank
			one := text
			start := strings.Index(text, "://") + len("://")
			if next := another().FindStringIndex(text[start:]); next != nil && !strings.Contains(text[start:start+next[0]], "?") {
				one = text[:start+next[0]]
			}
			shown.WriteString(one[:start] + hideRest(one[:start], one[start:]))
			text = text[len(one):]
		}
		return shown.String()
	})
}

// hideRest hides what may be secret in an address, given its scheme and the rest.
func hideRest(scheme, rest string) string {
	switch strings.ToLower(scheme) {
	case "docker-image://", "oci-layout://", "local://":
		return rest
	}
	rest = userInfo().ReplaceAllString(rest, hidden+"@")
	return query().ReplaceAllString(rest, "?"+hidden+"${1}")
}

// withoutSecrets returns the difference without the secrets of addresses. If nothing else differs, it says so.
func (d Difference) withoutSecrets() Difference {
	var old, now string
	if d.Old != nil {
		old = withoutSecrets(*d.Old)
	}
	if d.New != nil {
		now = withoutSecrets(*d.New)
	}
	if d.Old != nil && d.New != nil && old == now && *d.Old != *d.New {
		now += " (with another user, password or query)"
	}
	if d.Old != nil {
		d.Old = &old
	}
	if d.New != nil {
		d.New = &now
	}
	return d
}

// redacted returns the difference without values and without names chosen by the build's author, except those of variables.
func (d Difference) redacted() Difference {
	if d.Old != nil {
		d.Old = new(hidden)
	}
	if d.New != nil {
		d.New = new(hidden)
	}
	d.address = ""
	for _, of := range []string{mountField, "inputs."} {
		if strings.HasPrefix(d.Field, of) {
			d.Field = of + hidden
		}
	}
	return d
}

// instructions are the words that begin a Dockerfile's instructions.
var instructions = map[string]bool{
	"ADD": true, "ARG": true, "CMD": true, "COPY": true, "ENTRYPOINT": true, "ENV": true, "EXPOSE": true, "FROM": true, "HEALTHCHECK": true,
	"LABEL": true, "MAINTAINER": true, "ONBUILD": true, "RUN": true, "SHELL": true, "STOPSIGNAL": true, "USER": true, "VOLUME": true, "WORKDIR": true,
}

// redactedTitle says only what kind of step it is.
func redactedTitle(title string, op *llb.Op) string {
	words := strings.Fields(title)
	if len(words) > 0 && instructions[strings.ToUpper(words[0])] {
		return words[0] + " " + hidden
	}
	if op.Source != nil {
		scheme, _ := op.Source.Scheme()
		return scheme + " " + hidden
	}
	return op.Kind() + " " + hidden
}

// redactedFiles returns changes without the names of the files.
func redactedFiles(files []FileChange) []FileChange {
	var all []FileChange
	for _, f := range files {
		f.Path = hidden
		all = append(all, f)
	}
	return all
}

// paths returns the names of the selected files.
func (w *words) paths(selected []llb.Selection) []string { return w.shown(pathsOf(selected)) }

// shown returns names of files, hidden if values are redacted.
func (w *words) shown(paths []string) []string {
	if !w.redact {
		return paths
	}
	var all []string
	for range paths {
		all = append(all, hidden)
	}
	return all
}
