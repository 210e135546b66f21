package buildcache

import (
	"strconv"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// plainRoot is a root as BuildKit writes it: only the members that BuildKit writes, each once, and no string with an escape. It
// is read in one pass instead of encoding/json's nine or so: once many caches are there, roots are most of what is read.
type plainRoot struct {
	mediaType         string
	version           int64
	config            *Descriptor
	layers, manifests []Descriptor
}

// parsePlain reads a plain root. It returns false for any other bytes, which may still be a root.
func parsePlain(raw []byte) (*plainRoot, bool) {
	root := &plainRoot{}
	p := &plainReader{rest: raw}
	p.object(func(name string) {
		switch name { // encoding/json ignores case, so other names are left to it
		case "schemaVersion":
			root.version = p.number()
		case "mediaType":
			root.mediaType = p.text()
		case "config":
			root.config = &Descriptor{}
			p.descriptor(root.config)
		case "layers":
			root.layers = p.descriptors()
		case "manifests":
			root.manifests = p.descriptors()
		default:
			p.failed = true
		}
	})
	if p.space(); p.failed || len(p.rest) > 0 {
		return nil, false
	}
	return root, root.version == versionOfAll && root.agrees()
}

// versionOfAll is the schemaVersion of every root.
const versionOfAll = 2

// agrees reports whether the members match the media type.
func (r *plainRoot) agrees() bool {
	switch r.mediaType {
	case MediaTypeDockerList, MediaTypeOCIIndex:
		return r.manifests != nil && r.layers == nil && r.config == nil
	case MediaTypeDockerManifest, MediaTypeOCIManifest:
		return r.manifests == nil && r.layers != nil && r.config != nil
	}
	return false
}

// plainReader reads simple JSON. It fails on what it does not understand, which may still be valid JSON.
type plainReader struct {
	rest   []byte
	failed bool
	last   string // the last text read, reused because many repeat
}

// space skips white space.
func (p *plainReader) space() {
	for len(p.rest) > 0 && (p.rest[0] == ' ' || p.rest[0] == '\n' || p.rest[0] == '\t' || p.rest[0] == '\r') {
		p.rest = p.rest[1:]
	}
}

// next skips white space and want, if that is next, and reports whether it was.
func (p *plainReader) next(want byte) bool {
	p.space()
	if p.failed || len(p.rest) == 0 || p.rest[0] != want {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// list reads comma-separated items between two brackets.
func (p *plainReader) list(begin, end byte, item func()) {
	p.failed = p.failed || !p.next(begin)
	for over := p.next(end); !over && !p.failed; {
		item()
		over = p.next(end)
		p.failed = p.failed || !over && !p.next(',')
	}
}

// object reads an object. It fails on a repeated name and on more than eight members.
func (p *plainReader) object(member func(name string)) {
	var names [8]string
	n := 0
	p.list('{', '}', func() {
		name := p.text()
		for _, before := range names[:n] {
			p.failed = p.failed || name == before
		}
		if p.failed = p.failed || n == len(names) || !p.next(':'); p.failed {
			return
		}
		names[n] = name
		n++
		member(name)
	})
}

// text reads a string without escapes.
func (p *plainReader) text() string {
	if !p.next('"') {
		p.failed = true
		return ""
	}
	for i, c := range p.rest {
		switch {
		case c == '"':
			text := p.rest[:i]
			p.rest = p.rest[i+1:]
			if string(text) != p.last {
				p.last = string(text)
			}
			return p.last
		case c < ' ' || c == '\\' || c >= utf8.RuneSelf:
			p.failed = true
			return ""
		}
	}
	p.failed = true
	return ""
}

// number reads a non-negative integer.
func (p *plainReader) number() int64 {
	p.space()
	digits := 0
	for digits < len(p.rest) && p.rest[digits] >= '0' && p.rest[digits] <= '9' {
		digits++
	}
	text := p.rest[:digits]
	if digits == 0 || digits > 18 || digits > 1 && text[0] == '0' {
		p.failed = true
		return 0
	}
	p.rest = p.rest[digits:]
	n, err := strconv.ParseInt(string(text), 10, 64)
	p.failed = p.failed || err != nil
	return n
}

func (p *plainReader) descriptors() []Descriptor {
	all := []Descriptor{}
	p.list('[', ']', func() {
		all = append(all, Descriptor{})
		p.descriptor(&all[len(all)-1])
	})
	return all
}

func (p *plainReader) descriptor(d *Descriptor) {
	p.object(func(name string) {
		switch name {
		case "mediaType":
			d.MediaType = p.text()
		case "digest":
			d.Digest = digest.Digest(p.text())
		case "size":
			d.Size = p.number()
		case "annotations":
			d.Annotations = map[string]string{}
			p.object(func(name string) { d.Annotations[name] = p.text() })
		default:
			p.failed = true
		}
	})
}
