package main

import "github.com/ocicache/ocicache/layout"

// cacheFrom returns what a build is told to import a cache from a place, as the value of --cache-from, or "" for places that
// BuildKit can't read.
func cacheFrom(ref layout.Reference, tag string) string {
	switch ref.Transport {
	case layout.TransportRegistry:
		if tag == "" {
			return "type=registry,ref=" + ref.Path
		}
		return "type=registry,ref=" + ref.Path + ":" + tag
	case layout.TransportPath, layout.TransportLayout:
		if tag == "" || tag == layout.DefaultTag {
			return "type=local,src=" + ref.Path
		}
		return "type=local,src=" + ref.Path + ",tag=" + tag
	default:
		return ""
	}
}
