package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

const (
	// archiveRemedy is for a damaged archive, which nothing can repair.
	archiveRemedy = "copy the archive again from an intact original; archives packed with --volume-size and --parity can rebuild lost volumes"

	orExport = "; or export the cache again"
)

// whenFreed says when gc frees what no tag names.
const whenFreed = "after a day, or at once with --keep-since 0s if nothing else is writing there"

// frees says when gc frees the blobs of a directory.
func frees(dir string) string { return mention(onPath("gc", dir)) + " frees them " + whenFreed }

// listsAll names the command that lists everything wrong.
func (s subject) listsAll() string { return s.mention("verify") + " lists every problem" }

// kept says what helps if a registry has a blob with other bytes: it never takes a blob that it has, from anybody.
func (s subject) kept() string {
	return s.writes("--deep") + " drops what needs it; to get it back intact, " + s.far()
}

// far is kept for a blob that the whole cache depends on.
func (s subject) far() string {
	return "an administrator has to delete the damaged blob there first, as it won't be replaced; " + s.writes("--deep", "--base", "PLACE") +
		" then restores it; or export the cache to a repository on another registry"
}

// writes names the command that repairs the subject, and before it the one that gives it a tag, if it has none to move.
func (s subject) writes(more ...string) string {
	if s.ref.Digest == "" {
		return s.mention("repair", append(more, "--write")...)
	}
	return s.mention("tag", "TAG") + " gives it a tag first, then " + s.tagged("TAG").mention("repair", append(more, "--write")...)
}

// remedy says what helps with a problem of the subject, using commands for what its kind says.
func (s subject) remedy(p buildcache.Problem) string {
	if p.Remedy != p.Kind.Info().Remedy { // whoever found it knew better
		return p.Remedy
	}
	s = s.of(p)
	switch p.Kind { //nolint:exhaustive // no command helps against the others alone
	case buildcache.RootMissing, buildcache.RootDamaged, buildcache.ConfigMissing, buildcache.ConfigDamaged:
		return s.writes("--base", "PLACE") + " takes it from a place that has it" + orExport
	case buildcache.BlobMissing, buildcache.BlobDamaged:
		return s.writes() + " drops what needs the blob, or with --base PLACE takes the blob from a place that has it" + orExport
	case buildcache.IndexInvalid:
		return "restore index.json, or save what can still be read of it with " + s.whole().mention("repair", "--write") + orExport
	case buildcache.RootTooLarge, buildcache.ConfigTooLarge, buildcache.RegistryRootSize:
		return s.fits() + " drops its oldest results until it fits; or export fewer stages (mode=min), or split the cache across several tags"
	case buildcache.Untagged:
		if p.Digest != "" && s.ref.IsLocal() {
			return mention(tagCommand(s.ref.Path, p.Digest)) + " gives it a tag"
		}
	case buildcache.Unreachable:
		return s.whole().mention("gc") + " removes them, " + whenFreed
	case buildcache.Leftover: // one text for both kinds of leftovers, because many are shown with the remedy of the first
		return s.whole().mention("gc") + " removes them: those in .ocicache/ at once, those in ingest/ " + whenFreed
	}
	return p.Remedy
}

// fits names the command that makes the subject smaller. An archive can't be changed, so it names one that brings the cache elsewhere.
func (s subject) fits() string {
	if places.IsArchive(s.ref) {
		return s.mention("sync", "DIR", "--fit")
	}
	return s.mention("prune", "--fit")
}

// of returns the cache that a problem is about, if it says so.
func (s subject) of(p buildcache.Problem) subject {
	if s.ref.Tag != "" || s.ref.Digest != "" {
		return s
	}
	return s.tagged(p.Cache)
}

// fitRemedies adapts remedies to the place, as commands. Those for a directory don't always help: an archive can't be repaired, and a
// registry keeps what it has.
func (a *app) fitRemedies(from *places.Opened, problems []buildcache.Problem) {
	s, refuses := a.subjectOf(from.Reference), gcRefuses(problems)
	for i := range problems {
		switch p := &problems[i]; {
		case places.IsArchive(from.Reference) && isRequired(from.Source, p.Digest):
			p.Remedy = a.requiredRemedy(from.Reference.Path)
		case places.IsArchive(from.Reference) && isMended(p.Kind):
			p.Remedy = archiveRemedy
		case from.Reference.IsFar() && p.Kind == buildcache.BlobDamaged:
			p.Remedy = s.of(*p).kept()
		case from.Reference.IsFar() && (p.Kind == buildcache.ConfigDamaged || p.Kind == buildcache.RootDamaged):
			p.Remedy = s.of(*p).far()
		case refuses && (p.Kind == buildcache.Unreachable || p.Kind == buildcache.Leftover):
			p.Remedy = "repair what is missing first; it may be among these, so gc removes nothing until then"
		default:
			p.Remedy = s.remedy(*p)
		}
	}
}

// offerRoots says of tags whose roots are missing that repair can point them at an untagged root, if there is a complete one.
func (a *app) offerRoots(ctx context.Context, from *places.Opened, problems []buildcache.Problem) {
	isMissing := func(p buildcache.Problem) bool { return p.Kind == buildcache.RootMissing }
	dir, ok := from.Source.(*layout.Dir)
	if !ok || !slices.ContainsFunc(problems, isMissing) {
		return
	}
	caches, err := dir.UnnamedCaches(ctx)
	if err != nil || len(caches) == 0 || caches[0].Missing > 0 {
		return // promise nothing if it can't be told; and repair takes an incomplete root only if asked to
	}
	entries, err := dir.Entries(ctx)
	if err != nil {
		return
	}
	for i := range problems {
		if p := &problems[i]; isMissing(*p) {
			isOther := func(e layout.Entry) bool { return e.Tag != entries[0].Tag }
			p.Remedy = a.subjectOf(from.Reference).of(*p).pointed(caches[0].Digest, !slices.ContainsFunc(entries, isOther))
		}
	}
}

// pointed says how a tag whose root is missing gets an untagged one. repair does that unasked only if it is the only tag.
func (s subject) pointed(root digest.Digest, alone bool) string {
	const orBase = ", or with --base PLACE takes the missing one from a place that has it" + orExport
	if alone {
		return s.writes() + " points the tag at the root that is there" + orBase
	}
	return s.writes("--root", root.String()) + " points the tag at the newest root without a tag, if that is the cache" + orBase
}

// requiredRemedy is for an archive that is complete but was packed without what is looked for.
func (a *app) requiredRemedy(file string) string {
	return fmt.Sprintf("the archive leaves out what the far side already has: %s looks in PLACE too, if that has it, "+
		"and %s takes it from there", mention(a.repeated(a.running.CommandPath(), flagBase, "PLACE")),
		mention(onPath("unpack", file, "DIR", "--base", "PLACE")))
}

// gcRefuses reports whether it is unknown what a directory still needs, so that gc removes nothing.
func gcRefuses(problems []buildcache.Problem) bool {
	return slices.ContainsFunc(problems, func(p buildcache.Problem) bool {
		return slices.Contains([]buildcache.Kind{
			buildcache.RootMissing, buildcache.RootDamaged, buildcache.RootInvalid, buildcache.ConfigMissing, buildcache.ConfigDamaged, buildcache.BlobMissing,
			buildcache.IndexInvalid,
		}, p.Kind)
	})
}

// isMended reports whether repair can repair problems of a kind.
func isMended(kind buildcache.Kind) bool {
	return slices.Contains([]buildcache.Kind{
		buildcache.RootMissing, buildcache.RootDamaged, buildcache.ConfigMissing, buildcache.ConfigDamaged, buildcache.BlobMissing, buildcache.BlobDamaged,
		buildcache.IndexInvalid,
	}, kind)
}

// isRequired reports whether an archive was packed without a blob, and no base was named.
func isRequired(src layout.Source, blob digest.Digest) bool {
	packed, ok := src.(*archive.Archive)
	if !ok || packed.Description() == nil {
		return false
	}
	return slices.ContainsFunc(packed.Description().Requires, func(b archive.Blob) bool { return b.Digest == blob })
}

// removedByGC says what will happen to a directory's untagged caches.
func removedByGC(dir string) string {
	return fmt.Sprintf(", which %s will remove after a day", mention(onPath("gc", dir)))
}
