package main

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

const (
	// archiveRemedy is what helps where an archive is damaged, which nothing mends.
	archiveRemedy = "carry the archive over again from where it is whole; packed with --volume-size and --parity, lost volumes can be rebuilt"

	// requiredRemedy is what helps where an archive is whole, but was packed without what is looked for.
	requiredRemedy = "the archive was packed without what the far side has; name that with --base PLACE: a layout, an archive or a repository"

	// keptRemedy is what helps where a registry has a blob with other bytes: it takes no blob that it has, from anybody.
	keptRemedy = "'ocicache repair REF --deep --write' drops what needs it; to have it whole again, those who run the registry have to delete " +
		"the damaged blob first, as it takes none that it has: 'ocicache repair REF --deep --base PLACE --write' gives it back then; " +
		"or export the cache to another repository"
)

// whenFreed says when gc frees what no tag names any more.
const whenFreed = "after a day, or at once with --keep-since 0s where nothing else writes there"

// frees says that of the blobs of a directory.
func frees(dir string) string { return "'ocicache gc " + quoted(dir) + "' frees them " + whenFreed }

// fitRemedies names other remedies where those that fit a directory don't help: an archive is not mended, and a registry keeps what it has.
func fitRemedies(from *places.Opened, problems []buildcache.Problem) {
	for i := range problems {
		p := &problems[i]
		switch {
		case places.IsArchive(from.Reference) && strings.Contains(p.Remedy, "'ocicache repair"):
			p.Remedy = archiveRemedy
			if isRequired(from.Source, p.Digest) {
				p.Remedy = requiredRemedy
			}
		case isRegistry(from.Reference) && p.Kind == buildcache.BlobDamaged:
			p.Remedy = keptRemedy
		case isRegistry(from.Reference) && (p.Kind == buildcache.RootDamaged || p.Kind == buildcache.ConfigDamaged):
			p.Remedy = "bring the cache to another repository from where it is whole, or export it there: a registry takes no blob that it has"
		}
	}
}

// isRequired reports whether an archive was packed without a blob, and no base was named.
func isRequired(src layout.Source, blob digest.Digest) bool {
	packed, ok := src.(*archive.Archive)
	if !ok || packed.Description() == nil {
		return false
	}
	return slices.ContainsFunc(packed.Description().Requires, func(b archive.Blob) bool { return b.Digest == blob })
}
