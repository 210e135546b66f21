package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// hintPlace is about finding a cache.
func (a *app) hintPlace(err error) string {
	var (
		ambiguous *layout.AmbiguousError
		notFound  *layout.NotFoundError
		dangling  *layout.DanglingError
		locked    *layout.LockedError
		moved     *layout.TagMovedError
		taken     *layout.TakenError
		kept      *layout.KeptError
	)
	switch {
	case errors.As(err, &kept):
		return hintKept(kept)
	case errors.Is(err, convert.ErrNoUntag):
		return "archives are written as a whole; pack again without it"
	case errors.As(err, &ambiguous):
		return a.hintAmbiguous(ambiguous)
	case errors.As(err, &dangling):
		return hintDangling(dangling)
	case errors.As(err, &notFound):
		return hintNotFound(notFound)
	case errors.Is(err, layout.ErrNotLayout):
		return "a cache export is the directory that --cache-to type=local,dest=DIR was given"
	case errors.As(err, &locked):
		return "wait until the other process is done, or give --lock-timeout more time"
	case errors.As(err, &moved):
		return "another process wrote to the same tag; nothing of it was touched, run the command again"
	case errors.As(err, &taken) && taken.Want.IsImage():
		return "unpack to another DIR, or choose other tags with --tag"
	case errors.As(err, &taken):
		return "images are never overwritten; name another tag in DST"
	}
	return ""
}

// withTag returns the reference of a cache in a place that is known by its name, or "" where that can't be written as one.
func withTag(place, tag string) string {
	ref, err := layout.ParseReference(place)
	if err != nil || ref.Tag != "" {
		return ""
	}
	switch {
	case places.IsArchive(ref):
		ref.Transport = layout.TransportArchive
	case ref.Transport == layout.TransportPath:
		ref.Transport = layout.TransportLayout
	}
	ref.Tag = tag
	again, err := layout.ParseReference(ref.String())
	if err != nil || again != ref {
		return ""
	}
	return ref.String()
}

func hintKept(e *layout.KeptError) string {
	switch {
	case e.ByHand != "":
		return "this host deletes by an interface of its own; the result says how"
	case len(e.Sharing) > 0:
		return "delete the tags that name the same root together, or leave them"
	default:
		return "those who run the registry can allow deleting (distribution: REGISTRY_STORAGE_DELETE_ENABLED=true), or delete it themselves"
	}
}

func hintIncomplete(e *layout.IncompleteError) string {
	if e.Removed.Files > 0 {
		return "an export that takes no lock has named what was being removed; nothing more was, and running that export again brings it back"
	}
	return "nothing was removed; 'ocicache verify' says what is wrong, 'ocicache repair' may mend it, and 'ocicache rm' deletes a tag that is not wanted"
}

// hintIndex is about what index.json says of what lies in a directory.
func hintIndex(err error) string {
	var (
		lost     *layout.IncompleteError
		nameless *layout.NamelessError
		index    *layout.IndexError
	)
	switch {
	case errors.As(err, &nameless) && layout.ArePartial(nameless.Caches):
		return "nothing was removed; not all blobs of what lies there are there: " + inspect.RemedyInterrupted
	case errors.As(err, &nameless):
		return fmt.Sprintf("nothing was removed; 'ocicache repair %s --write' gives the newest one a tag, '%s' this one; "+
			"where all is to go, remove the directory", pathArgument(nameless.Path), tagCommand(nameless.Path, nameless.Caches[0].Digest))
	case errors.As(err, &index):
		return "'ocicache repair --write' saves what stands whole in it, and finds the caches that lie there"
	case errors.As(err, &lost):
		return hintIncomplete(lost)
	}
	return ""
}

func hintDangling(e *layout.DanglingError) string {
	if e.Partial {
		return hintPartial(e.Unnamed)
	}
	if len(e.Unnamed) > 0 {
		tag := cmp.Or(e.Tag, layout.DefaultTag)
		option := " --tag " + quoted(tag)
		if layout.CheckTag(tag) != nil { // --tag does not take it, and without one it is mended
			option = ""
		}
		return fmt.Sprintf("one build that exports several local caches leaves such a tag; the unnamed root is probably the cache: "+
			"'ocicache repair %s%s --root %s --write' gives it the tag, BuildKit can import it with digest=%s",
			pathArgument(e.Place), option, e.Unnamed[0], e.Unnamed[0])
	}
	return "export the cache again, in a build that exports no other local cache"
}

func hintNotFound(e *layout.NotFoundError) string {
	switch {
	case e.Partial:
		return hintPartial(e.Unnamed)
	case len(e.Unnamed) > 0:
		command := strings.ReplaceAll(tagCommand(e.Place, e.Unnamed[0]), e.Unnamed[0].String(), "DIGEST")
		return fmt.Sprintf("these cache roots lie there without a name: %s; '%s' gives one a tag, "+
			"and BuildKit can import it with digest=", wordsOf(e.Unnamed), command)
	case e.Inline:
		return "an image there carries an inline cache, which BuildKit imports from the image itself; 'ocicache extract' makes a cache of its own of it"
	case e.Images:
		return "export the cache with --cache-to type=local,dest=DIR,mode=max"
	case e.Tag == "":
		return "is it the right place? BuildKit writes no cache when a build has nothing to export"
	}
	return ""
}

// hintPartial is about caches without a name that lack blobs.
func hintPartial(roots []digest.Digest) string {
	return fmt.Sprintf("cache roots lie there without a name and without all their blobs: %s; %s", wordsOf(roots), inspect.RemedyInterrupted)
}

// wordsOf lists digests.
func wordsOf(digests []digest.Digest) string {
	words := make([]string, len(digests))
	for i, d := range digests {
		words[i] = d.String()
	}
	return strings.Join(words, ", ")
}

// hintImage is about images with inline caches.
func hintImage(err error) string {
	var (
		noImage  *layout.NoImageError
		noInline *convert.NoInlineError
		inline   *buildcache.InlineError
	)
	switch {
	case errors.As(err, &noImage) && noImage.Cache:
		return "it needs no extracting: 'ocicache copy' and 'ocicache convert' take it as it is"
	case errors.As(err, &noImage) && len(noImage.Tags) > 0:
		return "choose an image with --tag TAG or oci:DIR:TAG"
	case errors.As(err, &noInline):
		return "build and push the image with --cache-to type=inline (buildctl: --export-cache type=inline)"
	case errors.As(err, &inline):
		return "BuildKit imports nothing from this image either; build it again with --cache-to type=inline"
	}
	return ""
}

// hintCache is about what is in a cache.
func (a *app) hintCache(err error) string {
	var (
		proof  *convert.ProofError
		diffID *convert.DiffIDError
		blob   *layout.BlobError
		size   *buildcache.SizeError
		held   *convert.HeldError
		back   *convert.ReadBackError
	)
	switch {
	case errors.As(err, &back) && isBlobFault(err):
		return "no tag was moved; the destination took it and does not give it back, which those who run it can look into"
	case errors.As(err, &held):
		return "its tag was not moved; have the blob deleted there (the registry's garbage collection, or a new repository), then sync again"
	case errors.As(err, &proof) && proof.Problems[0].Kind == buildcache.BlobMissing && a.readsArchive():
		return "nothing of it was published; what the archive was packed without is not in DST either: name what has it, the archives before " +
			"this one for instance: " + a.repeated(a.running.CommandPath(), flagBase, "PLACE")
	case errors.As(err, &proof):
		return "nothing of it was published; " + proof.Problems[0].Remedy + " ('ocicache verify' lists everything)"
	case errors.As(err, &diffID):
		return "the layer was broken when it was exported: " + buildcache.LayerDiffID.Info().Remedy
	case errors.As(err, &blob) && isBlobFault(blob):
		return a.hintBlob(err, blob)
	case errors.As(err, &size):
		return buildcache.RootTooLarge.Info().Remedy
	}
	return ""
}

// unmoved says that nothing came of a command that would have moved tags.
func (a *app) unmoved() string {
	if a.running == nil || a.running.Flags().Lookup("dry-run") == nil {
		return ""
	}
	return "no tag was moved; "
}

// hintBlob is about a blob that is missing or damaged, by where that is.
func (a *app) hintBlob(err error, e *layout.BlobError) string {
	var unread *layout.UnreadError
	switch {
	case isArchive(e.Place):
		return a.unmoved() + archiveRemedy
	case errors.As(err, &unread):
		return buildcache.ConfigMissing.Info().Remedy + "; 'ocicache verify' lists all damage"
	case errors.Is(e, layout.ErrBlobDamaged) && isRegistryPlace(e.Place):
		return keptRemedy + "; 'ocicache verify' lists all damage"
	}
	return buildcache.BlobDamaged.Info().Remedy + "; 'ocicache verify' lists all damage"
}

// flagBase names what has the blobs that an archive was packed without.
const flagBase = "base"

// readsArchive reports whether SRC of the command that is running is an archive, which can have a base.
func (a *app) readsArchive() bool {
	return a.running != nil && a.running.Flags().Lookup(flagBase) != nil && isArchive(a.running.Flags().Arg(0))
}

// isArchive reports whether a place is an archive, by its name and what lies there.
func isArchive(place string) bool {
	ref, err := layout.ParseReference(place)
	return err == nil && places.IsArchive(ref)
}

// isRegistryPlace reports whether a place is a repository, by its name.
func isRegistryPlace(place string) bool {
	ref, err := layout.ParseReference(place)
	return err == nil && isRegistry(ref)
}

func isBlobFault(err error) bool {
	return errors.Is(err, layout.ErrBlobMissing) || errors.Is(err, layout.ErrBlobSize) || errors.Is(err, layout.ErrBlobDamaged)
}

// hintAmbiguous says how one of several is chosen, by what the command takes.
func (a *app) hintAmbiguous(e *layout.AmbiguousError) string {
	reference := "name its tag in the reference"
	if at := slices.IndexFunc(e.Tags, func(tag string) bool { return layout.CheckTag(tag) == nil }); at >= 0 {
		if named := withTag(e.Place, e.Tags[at]); named != "" {
			reference += ", such as " + quoted(named)
		}
	}
	if a.running != nil && a.running.Flags().Lookup("tag") == nil {
		return reference
	}
	return "choose one with --tag TAG, or " + reference
}
