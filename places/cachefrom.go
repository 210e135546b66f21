package places

import (
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// CacheFrom returns what a build is told to import a cache from a place, as the value of --cache-from, or "" for places that
// BuildKit can't read. A cache without a tag is imported by the digest of its root, which is "" where it is not known yet:
// then there is nothing to say.
func CacheFrom(ref layout.Reference, tag string, root digest.Digest) string {
	if tag == "" && root == "" {
		return ""
	}
	switch ref.Transport {
	case layout.TransportRegistry:
		if tag == "" {
			return "type=registry,ref=" + ref.Path + "@" + root.String()
		}
		return "type=registry,ref=" + ref.Path + ":" + tag
	case layout.TransportPath, layout.TransportLayout:
		switch tag {
		case "":
			return "type=local,src=" + ref.Path + ",digest=" + root.String()
		case layout.DefaultTag:
			return "type=local,src=" + ref.Path
		}
		return "type=local,src=" + ref.Path + ",tag=" + tag
	default:
		return ""
	}
}
