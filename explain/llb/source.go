package llb

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Scheme returns the kind of the source, such as docker-image or local, and
// what follows the scheme.
func (s *SourceOp) Scheme() (scheme, rest string) {
	scheme, rest, ok := strings.Cut(s.Identifier, "://")
	if !ok {
		return "", s.Identifier
	}
	return scheme, rest
}

// IsLocal reports whether the source is a directory of the build's client. Its
// record is never in a cache.
func (s *SourceOp) IsLocal() bool {
	scheme, _ := s.Scheme()
	return scheme == "local"
}

// IsImage reports whether the source is an image.
func (s *SourceOp) IsImage() bool {
	scheme, _ := s.Scheme()
	return scheme == "docker-image" || scheme == "oci-layout"
}

// ImageDigest returns the digest that the source's identifier pins the image to,
// or "".
func (s *SourceOp) ImageDigest() digest.Digest {
	_, rest := s.Scheme()
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return ""
	}
	d := digest.Digest(rest[at+1:])
	if d.Validate() != nil {
		return ""
	}
	return d
}

// Pin is what a build found when it resolved a source.
type Pin struct {
	Digest digest.Digest // of an image's root, or of what was downloaded
	Commit string        // of a repository
}

// sourceKey makes a key of the text that identifies a source.
func sourceKey(text string) Key { return NewKey("buildkit.source.v0:" + text) }

// Keys returns the keys that the source may have: several if part of what
// enters the key is unknown, none if that leaves too many.
func (o *Op) Keys(builder Platform, pin Pin) []Key {
	s := o.Source
	if s == nil {
		return nil
	}
	switch scheme, rest := s.Scheme(); scheme {
	case "docker-image", "oci-layout":
		return s.imageKeys(o.platform(builder), pin)
	case "http", "https":
		return s.httpKeys(pin)
	case "git":
		return s.gitKeys(rest, pin)
	default:
		return nil
	}
}

func (s *SourceOp) imageKeys(p Platform, pin Pin) []Key {
	root := s.ImageDigest()
	if root == "" {
		root = pin.Digest
	}
	if root == "" {
		return nil
	}
	var limit *int
	for _, name := range []string{"image.layerlimit", "oci.layerlimit"} {
		if text, ok := s.Attrs[name]; ok {
			n, err := strconv.Atoi(text)
			if err != nil {
				return nil
			}
			limit = &n
		}
	}
	text, err := marshal(struct {
		Digest     digest.Digest
		OS         string
		Arch       string
		Variant    string   `json:",omitempty"`
		OSVersion  string   `json:",omitempty"`
		OSFeatures []string `json:",omitempty"`
		Limit      *int     `json:",omitempty"`
	}{root, p.OS, p.Architecture, p.Variant, p.OSVersion, p.OSFeatures, limit})
	if err != nil {
		return nil
	}
	key := sourceKey(digest.FromString(text).String())
	key.Preimage = text
	return []Key{key}
}

type headerField struct {
	Name  string
	Value string
}

// httpKeys returns the key of a download that is pinned to a digest. Any other key contains the server's time of last
// change, which no provenance holds.
func (s *SourceOp) httpKeys(pin Pin) []Key {
	sum := digest.Digest(s.Attrs["http.checksum"])
	if sum == "" || sum.Validate() != nil {
		return nil
	}
	if pin.Digest != "" && pin.Digest != sum {
		return nil
	}
	perm, uid, gid, ok := s.httpNumbers()
	if !ok {
		return nil
	}
	text, err := marshal(struct {
		Filename         string
		Perm, UID, GID   int64
		Checksum         digest.Digest
		AuthHeaderSecret string        `json:",omitempty"`
		Header           []headerField `json:",omitempty"`
	}{s.fileName(), perm, uid, gid, sum, s.Attrs["http.authheadersecret"], s.httpHeader()})
	if err != nil {
		return nil
	}
	key := sourceKey(digest.FromString(text).String())
	key.Preimage = text
	return []Key{key}
}

func (s *SourceOp) httpNumbers() (perm, uid, gid int64, ok bool) {
	numbers := [3]int64{}
	for i, name := range []string{"http.perm", "http.uid", "http.gid"} {
		text, given := s.Attrs[name]
		if !given {
			continue
		}
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return 0, 0, 0, false
		}
		numbers[i] = n
	}
	return numbers[0], numbers[1], numbers[2], true
}

// fileName returns the name of a download whose server gives none.
func (s *SourceOp) fileName() string {
	if name := s.Attrs["http.filename"]; name != "" {
		return path.Base(name)
	}
	if u, err := url.Parse(s.Identifier); err == nil {
		if base := path.Base(u.Path); base != "." && base != "/" {
			return base
		}
	}
	return "download"
}

func (s *SourceOp) httpHeader() []headerField {
	var fields []headerField
	for name, value := range s.Attrs {
		if name, ok := strings.CutPrefix(name, "http.header."); ok {
			name = http.CanonicalHeaderKey(name)
			if name == "Accept" || name == "User-Agent" {
				fields = append(fields, headerField{name, value})
			}
		}
	}
	slices.SortFunc(fields, func(a, b headerField) int { return strings.Compare(a.Name, b.Name) })
	return fields
}

// gitKeys returns the keys of a commit. If the .git directory is kept, the full name of what was checked out counts,
// which may be a branch's or a tag's.
func (s *SourceOp) gitKeys(rest string, pin Pin) []Key {
	if pin.Commit == "" {
		return nil
	}
	_, fragment, _ := strings.Cut(rest, "#")
	ref, subdir, _ := strings.Cut(fragment, ":")
	starts := []string{pin.Commit}
	if s.Attrs["git.keepgitdir"] == "true" {
		starts = nil
		for _, name := range []string{"", "#" + ref, "#refs/heads/" + ref, "#refs/tags/" + ref, "#" + pin.Commit} {
			starts = append(starts, pin.Commit+".git"+name)
		}
	}
	var keys []Key
	for _, start := range starts {
		keys = append(keys, sourceKey(start+s.gitSuffix(subdir)))
	}
	return keys
}

func (s *SourceOp) gitSuffix(subdir string) string {
	var b strings.Builder
	if subdir != "" {
		b.WriteString(":" + subdir)
	}
	if s.Attrs["git.skipsubmodules"] == "true" {
		b.WriteString("(skip-submodules)")
	}
	if mtime := s.Attrs["git.mtime"]; mtime != "" && mtime != "checkout" {
		b.WriteString("(mtime=" + mtime + ")")
	}
	if s.Attrs["git.checkoutbundle"] == "true" {
		b.WriteString("(bundle)")
	}
	return b.String()
}

// ChainID returns the ID of a chain of layers to which the layer with a diffID is
// added. The ID of a chain of one layer is the layer's diffID.
func ChainID(below, diffID digest.Digest) digest.Digest {
	return digest.FromString(string(below) + " " + string(diffID))
}

// ChainKey returns the second key that BuildKit before v0.34 gave an image, made
// of the ID of the chain of all its layers. Its record is that of output 0.
func ChainKey(chain digest.Digest) Key { return sourceKey(chain.String()) }

// Patterns returns the patterns in an attribute of a local source, such as
// local.excludepatterns, which holds those of .dockerignore.
func (s *SourceOp) Patterns(attr string) ([]string, error) {
	text, ok := s.Attrs[attr]
	if !ok {
		return nil, nil
	}
	var patterns []string
	if err := json.Unmarshal([]byte(text), &patterns); err != nil {
		return nil, fmt.Errorf("%s of %s: %w", attr, s.Identifier, err)
	}
	return patterns, nil
}
