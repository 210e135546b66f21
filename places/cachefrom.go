package places

import (
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// CacheFrom returns what a build is told to import a cache from a place, as the value of --cache-from, or "" for places that
// BuildKit can't read. A cache without a tag is imported by the digest of its root, which is "" where it is not known yet:
// then there is nothing to say. The value is a line of CSV, as docker buildx and buildctl read it; a shell takes it in quotes.
func CacheFrom(ref layout.Reference, tag string, root digest.Digest) string {
	byDigest := root != "" && strings.TrimSpace(tag) != tag // a tag with spaces around it would be read without
	if tag == "" && root == "" {
		return ""
	}
	switch ref.Transport {
	case layout.TransportRegistry:
		if tag == "" {
			return csvLine("type=registry", "ref="+ref.Path+"@"+root.String())
		}
		return csvLine("type=registry", "ref="+ref.Path+":"+tag)
	case layout.TransportPath, layout.TransportLayout:
		fields := []string{"type=local", "src=" + untrimmed(ref.Path)}
		switch {
		case tag == "" || byDigest:
			fields = append(fields, "digest="+root.String())
		case tag != layout.DefaultTag:
			fields = append(fields, "tag="+tag)
		}
		return csvLine(fields...)
	default:
		return ""
	}
}

// csvLine writes fields that are quoted where they have to be.
func csvLine(fields ...string) string {
	for i, field := range fields {
		if strings.ContainsAny(field, ",\"\r\n") {
			fields[i] = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
		}
	}
	return strings.Join(fields, ",")
}

// untrimmed writes a path so that no space of it is at an end, where it would be cut off.
func untrimmed(path string) string {
	if strings.TrimLeftFunc(path, unicode.IsSpace) != path {
		path = "./" + path
	}
	if strings.TrimRightFunc(path, unicode.IsSpace) != path {
		path += "/"
	}
	return path
}
