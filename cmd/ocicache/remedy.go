package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
	return s.asks("what would be lost without it", "drops that, if anything is left", "--deep") + "; to get it back intact, " + s.far()
}

// far is kept for a blob that the whole cache depends on.
func (s subject) far() string {
	return "an administrator has to delete the damaged blob there first, as it won't be replaced; " + s.writes("--deep", "--base", "PLACE") +
		" then restores it; or export the cache to a repository on another registry"
}

// ofFar says what helps with a problem in a registry that helps nowhere else, "" if that is the same as elsewhere.
func (s subject) ofFar(kind buildcache.Kind) string {
	switch kind { //nolint:exhaustive // the others are not that registry's
	case buildcache.BlobDamaged:
		return s.kept()
	case buildcache.RootMissing: // the registry has no such tag then
		return "copy the cache there again; or export it again"
	case buildcache.ConfigDamaged, buildcache.RootDamaged:
		return s.far()
	}
	return ""
}

// writes names the command that repairs the subject, and before it the one that gives it a tag, if it has none to move.
func (s subject) writes(more ...string) string {
	if s.ref.Digest == "" {
		return s.mention("repair", append(more, "--write")...)
	}
	return s.mention("tag", "TAG") + " gives it a tag first, then " + s.tagged("TAG").mention("repair", append(more, "--write")...)
}

// asks names the command that shows what repair would do, for those who have something to lose, and says what --write does.
func (s subject) asks(shows, does string, more ...string) string {
	first := s.mention("repair", more...) + " shows " + shows
	if s.ref.Digest == "" {
		return first + "; with --write it " + does
	}
	return first + "; " + s.writes(more...) + " " + does
}

// correctsBeside is for what repair corrects without a loss in a cache that would lose something because of other problems.
func (s subject) correctsBeside(kind buildcache.Kind) string {
	return s.asks("what would be lost by other problems of the cache", "corrects this", s.depth(kind)...) + orExport
}

// depth returns the flag that repair needs to find a kind of problem.
func (s subject) depth(kind buildcache.Kind) []string {
	if kind == buildcache.LayerDiffID || kind == buildcache.LayerMislabelled && s.ref.IsFar() {
		return []string{"--deep"}
	}
	return nil
}

// remedy says what helps with a problem of the subject, using commands for what its kind says.
func (s subject) remedy(p buildcache.Problem) string {
	if p.Remedy != p.Kind.Info().Remedy { // whoever found it knew better
		return p.Remedy
	}
	s = s.of(p)
	if repaired := s.repaired(p.Kind); repaired != "" {
		return repaired + orExport
	}
	switch p.Kind { //nolint:exhaustive // no command helps against the others alone
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

// repaired says what repair does about a kind of problem of a cache, "" if nothing.
func (s subject) repaired(kind buildcache.Kind) string {
	if isCorrected(kind) {
		return s.writes(s.depth(kind)...) + " corrects it, and nothing is lost"
	}
	switch kind { //nolint:exhaustive // the others it leaves
	case buildcache.RootMissing, buildcache.ConfigMissing, buildcache.ConfigDamaged:
		return s.fromBase()
	case buildcache.RootDamaged:
		return s.asks("what can be kept of the cache", "reads every layer and writes the root anew, or with --base PLACE takes the original from a place that has it")
	case buildcache.BlobMissing, buildcache.BlobDamaged:
		return s.asks("what would be lost without the blob", "drops that, if anything is left, or with --base PLACE takes the blob from a place that has it")
	case buildcache.BlobSize:
		return s.asks("whether only the stated size is wrong", "corrects the size, or drops what needs the blob")
	case buildcache.LayerUnreadable:
		return s.asks("whether only its media type is wrong, and else what would be lost without it",
			"corrects the media type, or drops that, if anything is left", "--deep")
	case buildcache.LayerUnlisted:
		return s.asks("whether the root has the layer under another digest", "takes that one, or drops the results that BuildKit drops")
	case buildcache.RecordDigest:
		return s.writes() + " drops the record"
	case buildcache.CacheInIndex:
		return s.writes() + " points the tag at the cache"
	}
	return ""
}

// fromBase says that a part of the cache without which nothing else can be mended has to come from elsewhere.
func (s subject) fromBase() string {
	return s.writes("--base", "PLACE") + " takes it from a place that has it"
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

// fitRemedies adapts remedies to the place and to what else is wrong, as commands. Those for a directory don't always help: an archive can't
// be repaired, and a registry keeps what it has.
func (a *app) fitRemedies(from *places.Opened, problems []buildcache.Problem) {
	s, refuses := a.subjectOf(from.Reference), gcRefuses(problems)
	others, inArchive := setOf(problems), places.IsArchive(from.Reference) // which reads a directory
	for i := range problems {
		switch p := &problems[i]; {
		case others.has[problemKey{p.Cache, buildcache.ConfigDamaged, ""}] && isOfConfig(*p):
			p.Remedy = "only the damaged config says so: repair that first"
		case inArchive && isRequired(from.Source, p.Digest):
			p.Remedy = a.requiredRemedy(from.Reference.Path)
		case inArchive:
			p.Remedy = s.ofArchive(*p, others)
		case from.Reference.IsFar() && s.of(*p).ofFar(p.Kind) != "":
			p.Remedy = s.of(*p).ofFar(p.Kind)
		case refuses && (p.Kind == buildcache.Unreachable || p.Kind == buildcache.Leftover):
			p.Remedy = "repair what is missing first; it may be among these, so gc removes nothing until then"
		default:
			p.Remedy = s.among(*p, others)
		}
	}
}

// among says what helps with a problem of the subject that may have others.
func (s subject) among(p buildcache.Problem, others problemSet) string {
	has := func(kind buildcache.Kind) bool { return others.has[problemKey{p.Cache, kind, ""}] }
	switch {
	case p.Remedy != p.Kind.Info().Remedy: // whoever found it knew better
	case p.Kind == buildcache.RootDamaged && has(buildcache.RootInvalid), p.Kind == buildcache.RootInvalid && has(buildcache.RootDamaged):
		return s.of(p).fromBase() + orExport
	case p.Kind == buildcache.LayerDiffID && others.has[problemKey{p.Cache, buildcache.LayerUnreadable, p.Digest}]:
		s, p = s.of(p), buildcache.NewProblem(buildcache.LayerUnreadable, p.Where, p.Detail)
	case isCorrected(p.Kind) && others.loses[p.Cache]:
		return s.of(p).correctsBeside(p.Kind)
	}
	return s.remedy(p)
}

// ofArchive says what helps with a problem of an archive, which can't be changed.
func (s subject) ofArchive(p buildcache.Problem, others problemSet) string {
	unpacked := subject{ref: layout.Reference{Transport: layout.TransportPath, Path: "DIR"}}
	switch {
	case isMended(p.Kind):
		return archiveRemedy
	case p.Kind == buildcache.BlobSize: // unpack takes no such blob
		return "export the cache again"
	case unpacked.repaired(p.Kind) != "":
		return s.whole().mention("unpack", "DIR") + ", and then " + unpacked.among(p, others)
	}
	return s.remedy(p)
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

// isOfConfig reports whether a problem is in what the config says, or in what it doesn't say.
func isOfConfig(p buildcache.Problem) bool {
	return strings.HasPrefix(p.Where, "config.") || p.Kind == buildcache.LayerUnused || p.Kind == buildcache.NoResults ||
		p.Kind == buildcache.ConfigInvalid
}

// isCorrected reports whether repair mends a kind of problem, in the root alone, so that nothing is lost.
func isCorrected(kind buildcache.Kind) bool {
	return slices.Contains([]buildcache.Kind{
		buildcache.LayerNoDiffID, buildcache.LayerDiffID, buildcache.LayerCreatedAt, buildcache.LayerMediaTypeBad, buildcache.LayerMislabelled,
	}, kind)
}

// mayLose reports whether a kind of problem may make repair drop results.
func mayLose(kind buildcache.Kind) bool {
	return slices.Contains([]buildcache.Kind{
		buildcache.RootDamaged, buildcache.BlobMissing, buildcache.BlobDamaged, buildcache.BlobSize, buildcache.LayerUnreadable, buildcache.LayerUnlisted,
		buildcache.RecordDigest, buildcache.DigestInvalid,
	}, kind)
}

// problemSet tells what else is wrong with a cache. Looking through all problems for each would not end: every tag of a root has its own.
type problemSet struct {
	has   map[problemKey]bool
	loses map[string]bool // caches with a problem that may make repair drop results
}

// problemKey is a kind of problem of a cache and, if it is about one, of a blob.
type problemKey struct {
	cache string
	kind  buildcache.Kind
	blob  digest.Digest
}

func setOf(problems []buildcache.Problem) problemSet {
	set := problemSet{has: map[problemKey]bool{}, loses: map[string]bool{}}
	for _, p := range problems {
		set.has[problemKey{p.Cache, p.Kind, p.Digest}] = true
		set.has[problemKey{p.Cache, p.Kind, ""}] = true
		if mayLose(p.Kind) {
			set.loses[p.Cache] = true
		}
	}
	return set
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
