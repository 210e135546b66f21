package places

import (
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// CacheFrom returns the value of --cache-from with which a build imports a cache from a place, or "" for places that BuildKit
// can't read. A cache without a tag is imported by the digest of its root; if root is "" too, because it is not known yet, so
// is the value. The value is a line of CSV, as docker buildx and buildctl read it, and has to be quoted in a shell.
func CacheFrom(ref layout.Reference, tag string, root digest.Digest) string {
	byDigest := root != "" && strings.TrimSpace(tag) != tag // spaces around a tag would be cut off
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

// csvLine joins fields with commas, and quotes those that need it.
func csvLine(fields ...string) string {
	for i, field := range fields {
		if strings.ContainsAny(field, ",\"\r\n") {
			fields[i] = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
		}
	}
	return strings.Join(fields, ",")
}

// untrimmed spells a path so that no space is at either end, where it would be cut off.
func untrimmed(path string) string {
	if strings.TrimLeftFunc(path, unicode.IsSpace) != path {
		path = "./" + path
	}
	if strings.TrimRightFunc(path, unicode.IsSpace) != path {
		path += "/"
	}
	return path
}
