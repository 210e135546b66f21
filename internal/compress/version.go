package compress

import (
	"runtime"
	"runtime/debug"

	"github.com/ocicache/ocicache/buildcache"
)

// Version names the encoder of a compression, with everything that its output depends on. Two binaries with equal
// versions pack equal bytes.
func Version(c buildcache.Compression) string {
	switch c {
	case buildcache.Gzip, buildcache.Zstd:
		return moduleVersion("github.com/klauspost/compress")
	case buildcache.Estargz: // which packs with the standard library's gzip
		return moduleVersion("github.com/containerd/stargz-snapshotter/estargz") + " " + runtime.Version()
	default:
		return ""
	}
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return path + "@unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path != path {
			continue
		}
		if dep.Replace != nil {
			dep = dep.Replace
		}
		return dep.Path + "@" + dep.Version
	}
	return path + "@unknown"
}
