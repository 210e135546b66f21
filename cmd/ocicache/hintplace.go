package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
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
		surplus   *convert.SurplusError
		half      *convert.UnfinishedError
	)
	switch {
	case errors.As(err, &surplus):
		return a.hintSurplus(surplus)
	case errors.As(err, &half):
		return inspect.RemedyInterrupted + ", and " + mention(a.repeated(a.running.CommandPath(), "root", half.Root.String())) + " drops that, if anything is left"
	case errors.As(err, &kept):
		return a.hintKept(err, kept)
	case errors.Is(err, convert.ErrNoUntag):
		return "an archive can't be changed once written; pack it again without that tag"
	case errors.As(err, &ambiguous):
		return a.hintAmbiguous(ambiguous)
	case errors.As(err, &dangling):
		return a.hintDangling(dangling)
	case errors.As(err, &notFound):
		return a.hintNotFound(notFound)
	case errors.Is(err, layout.ErrOtherFiles):
		return "this directory holds other files; give a new or an empty one"
	case errors.Is(err, layout.ErrNotLayout):
		return "give the directory from --cache-to type=local,dest=DIR"
	case errors.As(err, &locked):
		return "wait for the other process to finish, or raise --lock-timeout"
	case errors.As(err, &moved):
		return "another process wrote to the same tag, and its work was left alone; run the command again"
	case errors.As(err, &taken) && taken.Want.IsImage():
		return "unpack to another DIR, or choose different tags with --tag"
	case errors.As(err, &taken):
		return "images are never overwritten; use another tag in DST"
	}
	return ""
}

// withTag returns the reference of a cache in a place, given the place's name, or "" if it can't be written as one.
func withTag(place, tag string) string {
	ref, err := layout.ParseReference(place)
	if err != nil || ref.Tag != "" {
		return ""
	}
	ref.Transport, ref.Tag = transportOf(ref), tag
	again, err := layout.ParseReference(ref.String())
	if err != nil || again != ref {
		return ""
	}
	return ref.String()
}

func (a *app) hintKept(err error, e *layout.KeptError) string {
	together := append([]string{e.Tag}, e.Sharing...)
	if several := new(keptError); errors.As(err, &several) {
		together = several.together
	}
	slices.Sort(together)
	together = slices.Compact(together)
	switch {
	case errors.As(e.Err, new(*layout.SharedUnreadError)):
		return "nothing was deleted; run it again once the registry lets these tags be read, or have its administrator delete them"
	case e.ByHand != "":
		return "this host only deletes tags through its own API; see the commands in the result"
	case len(e.Sharing) > 0 && a.running != nil && a.running.Name() == "sync": // which deletes a root if all of its tags are to go
		return "the registry deletes a root only with all of its tags, and not all of these are to go: they stay until then"
	case len(e.Sharing) > 0 && len(together) <= maxTogether:
		var words []string
		for _, tag := range together { // tags of registries contain no characters that are special in patterns
			words = append(words, "--match", quoted(tag))
		}
		return "delete all tags of that root together: " + a.at(e.Place).whole().command("rm", words...)
	case len(e.Sharing) > 0:
		return "delete all tags of that root together, or keep them all"
	case errors.As(e.Err, new(*registry.AuthError)):
		return "this user may not delete tags, or deleting is turned off (distribution: REGISTRY_STORAGE_DELETE_ENABLED=true); ask the registry's administrator"
	default:
		return "ask the registry's administrator to turn deleting on (distribution: REGISTRY_STORAGE_DELETE_ENABLED=true) or to delete it"
	}
}

// maxTogether is the most tags that a command names to delete together.
const maxTogether = 8

func (a *app) hintIncomplete(e *layout.IncompleteError) string {
	if e.Removed.Files > 0 {
		return "an export that takes no lock started using what was being removed, so gc stopped; run that export again to restore it"
	}
	if e.Lost {
		return "nothing was removed; " + inspect.RemedyLost
	}
	at := a.at(e.Path).whole()
	return fmt.Sprintf("nothing was removed; %s shows what is wrong, %s may fix it, and rm deletes a tag you don't need", at.mention("verify"),
		at.mention("repair", "--write"))
}

// hintIndex is about what a directory's index.json says of its contents.
func (a *app) hintIndex(err error) string {
	var (
		lost     *layout.IncompleteError
		nameless *layout.NamelessError
		index    *layout.IndexError
	)
	switch {
	case errors.As(err, &nameless) && layout.ArePartial(nameless.Caches):
		return "nothing was removed; some blobs of the caches in this directory are missing: " + inspect.RemedyInterrupted
	case errors.As(err, &nameless):
		return fmt.Sprintf("nothing was removed; %s tags the newest one, %s tags this one; to remove everything, delete the directory",
			mention(onPath("repair", nameless.Path, "--write")), mention(tagCommand(nameless.Path, nameless.Caches[0].Digest)))
	case errors.As(err, &index) && errors.Is(err, durable.ErrSymlink):
		return "replace the link with the file that it leads to, and run it again"
	case errors.As(err, &index) && (index.InTheWay() || errors.As(err, new(*buildcache.SizeError))): // repair can't read these either
		return "move it away, then " + mention(onPath("repair", filepath.Dir(index.Path), "--write")) + " writes a new one from the caches found there"
	case errors.As(err, &index):
		return mention(onPath("repair", filepath.Dir(index.Path), "--write")) + " saves what can still be read and finds the caches there"
	case errors.As(err, &lost):
		return a.hintIncomplete(lost)
	}
	return ""
}

func (a *app) hintDangling(e *layout.DanglingError) string {
	if e.Partial {
		return hintPartial(e.Unnamed)
	}
	if len(e.Unnamed) == 0 {
		const again = "export the cache again, from a build with no other local cache export"
		switch {
		case isArchive(e.Place):
			return again
		case isFarPlace(e.Place): // a registry reports only the tag
			return "copy the cache there again, or export it again; then rm can delete the tag too, if the registry allows it"
		}
		return "if PLACE has it, " + a.at(e.Place).mention("repair", "--base", "PLACE", "--write") + " takes it from there; otherwise " + again
	}
	repair := []string{"--root", e.Unnamed[0].String(), "--write"}
	if tag := cmp.Or(e.Tag, layout.DefaultTag); layout.CheckTag(tag) == nil { // otherwise --tag rejects it; repair works without a tag
		repair = append([]string{"--tag", quoted(tag)}, repair...)
	}
	return fmt.Sprintf("this happens when one build exports several local caches; the untagged root is probably the cache: "+
		"%s gives it the tag, and BuildKit can import it with digest=%s", a.at(e.Place).whole().mention("repair", repair...), e.Unnamed[0])
}

func (a *app) hintNotFound(e *layout.NotFoundError) string {
	switch {
	case e.Images && a.running != nil && a.running.Name() == "rm":
		return "it holds images, which are never deleted"
	case hasDigest(e.Tag):
		return "this has both a tag and a digest; leave one of them out"
	case e.Partial:
		return hintPartial(e.Unnamed)
	case len(e.Unnamed) > 0 && e.Tag != "" && a.running != nil && a.running.Name() == "repair":
		return fmt.Sprintf("nothing was changed; it has cache roots without a tag: %s; %s gives the first one this tag", wordsOf(e.Unnamed),
			a.at(e.Place).whole().mention("repair", "--root", e.Unnamed[0].String(), "--tag", quoted(e.Tag), "--write"))
	case len(e.Unnamed) > 0:
		return fmt.Sprintf("it has cache roots without a tag: %s; %s tags the first one, and BuildKit can import each with digest=",
			wordsOf(e.Unnamed), mention(tagCommand(e.Place, e.Unnamed[0])))
	case e.Inline:
		return "an image there carries an inline cache, which BuildKit imports straight from the image; " + a.at(e.Place).tagged(e.Tag).mention("extract", "DST") +
			" turns it into a separate cache"
	case e.Images:
		return "export the cache with --cache-to type=local,dest=DIR,mode=max"
	default:
		return hintNothing(e)
	}
}

// hintNothing is about a place in which nothing was found.
func hintNothing(e *layout.NotFoundError) string {
	switch {
	case e.Begun && e.Missing != "":
		return inspect.RemedyLost
	case e.Begun:
		return inspect.RemedyAgain
	case e.Tag == "" && e.Digest == "":
		return "is this the right place? BuildKit writes no cache when a build has nothing to export"
	}
	return ""
}

// hasDigest reports whether what was taken for a tag ends in a digest.
func hasDigest(tag string) bool {
	_, hash, ok := strings.Cut(tag, "@")
	return ok && buildcache.CheckDigest(digest.Digest(hash)) == nil
}

// hintPartial is about untagged caches with missing blobs.
func hintPartial(roots []digest.Digest) string {
	return fmt.Sprintf("it has cache roots without a tag, with blobs missing: %s; %s", wordsOf(roots), inspect.RemedyInterrupted)
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
func (a *app) hintImage(err error) string {
	var (
		noImage  *layout.NoImageError
		noInline *convert.NoInlineError
		inline   *buildcache.InlineError
	)
	switch {
	case errors.As(err, &noImage) && noImage.Cache:
		return "there is nothing to extract: " + mention(a.repeatedAs("copy")) + " copies it as it is"
	case errors.As(err, &noImage) && len(noImage.Tags) > 0:
		return "choose an image with --tag TAG or oci:DIR:TAG"
	case errors.As(err, &noInline):
		return "build and push the image with --cache-to type=inline (buildctl: --export-cache type=inline)"
	case errors.As(err, &inline):
		return "BuildKit can't import anything from this image either; build it again with --cache-to type=inline"
	}
	return ""
}

// hintCache is about what is in a cache.
func (a *app) hintCache(err error) string {
	var (
		proof  *convert.ProofError
		diffID *convert.DiffIDError
		files  *convert.TarError
		blob   *layout.BlobError
		size   *buildcache.SizeError
		held   *layout.HeldError
		back   *convert.ReadBackError
	)
	switch {
	case errors.As(err, &back) && isBlobFault(err):
		return "its tag was not moved; the destination accepted the blob but doesn't return it intact, so ask its administrator"
	case errors.As(err, &held):
		return "its tag was not moved; have the blob deleted there (by the registry's garbage collection) or use a repository on another registry, then run it again"
	case errors.As(err, &proof) && proof.Problems[0].Kind == buildcache.BlobMissing && a.readsArchive():
		return a.unmoved() + "blobs that the archive leaves out are not in DST either: use --base with a place that has them, such as " +
			"an earlier archive: " + a.repeated(a.running.CommandPath(), flagBase, "PLACE")
	case errors.As(err, &proof):
		return a.unmoved() + a.source().ofProof(proof) + " (" + a.source().listsAll() + ")"
	case errors.As(err, &diffID), errors.As(err, &files):
		return a.unmoved() + "the layer was broken when it was exported: " + a.source().mention("verify", "--deep") + " says what repairs it"
	case errors.As(err, &blob) && errors.Is(blob, layout.ErrBlobBlocked):
		path := filepath.Join(blob.Place, "blobs", blob.Digest.Algorithm().String(), blob.Digest.Encoded())
		return "remove the directory " + quoted(path) + ", which is no blob, and run it again"
	case errors.As(err, &blob) && isBlobFault(blob):
		return a.hintBlob(err, blob)
	case errors.As(err, &size):
		return a.source().remedy(buildcache.NewProblem(buildcache.RootTooLarge, "", ""))
	}
	return ""
}

// ofProof says what helps with what keeps BuildKit from importing the subject.
func (s subject) ofProof(proof *convert.ProofError) string {
	if places.IsArchive(s.ref) {
		return s.ofArchive(proof.Problems[0], setOf(proof.Problems))
	}
	return s.remedy(proof.Problems[0])
}

// hintCompression is about layers that BuildKit reads, but that the wanted compression can't hold.
func (a *app) hintCompression(err error) string {
	switch {
	case errors.As(err, new(*convert.EstargzError)):
		return a.unmoved() + "BuildKit reads this layer as it is: use --compression zstd or gzip"
	case errors.As(err, new(*convert.EmptyTarError)):
		return a.unmoved() + "use --compression zstd or gzip, in which such a layer has some bytes"
	}
	return ""
}

// unmoved says that the tag of what failed was not moved, if the command moves tags. Other caches of the command may be done.
func (a *app) unmoved() string {
	if a.running == nil || a.running.Flags().Lookup("dry-run") == nil {
		return ""
	}
	if a.running.Name() == "unpack" { // which moves all tags together
		return "no tag was moved; "
	}
	return "its tag was not moved; "
}

// hintBlob is about a missing or damaged blob, depending on its place.
func (a *app) hintBlob(err error, e *layout.BlobError) string {
	var unread *layout.UnreadError
	switch {
	case isArchive(e.Place):
		return a.unmoved() + archiveRemedy
	case a.isOfImage(err, e):
		return a.unmoved() + inspect.RemedyOfImage
	case e.Digest != "" && e.Digest == a.at(e.Place).ref.Digest: // tag and repair would have to read it
		return a.unmoved() + "this is the root itself, without which nothing else of the cache can be found; copy the cache there again from a place that has it" +
			orExport
	case errors.As(err, &unread) && isAltered(e) && isFarPlace(e.Place):
		return a.at(e.Place).far() + "; " + a.at(e.Place).listsAll()
	case errors.As(err, &unread):
		return a.at(e.Place).remedy(buildcache.NewProblem(buildcache.ConfigMissing, "", "")) + "; " + a.at(e.Place).listsAll()
	case isAltered(e) && isFarPlace(e.Place):
		return a.at(e.Place).kept() + "; " + a.at(e.Place).listsAll()
	}
	return a.at(e.Place).remedy(buildcache.NewProblem(buildcache.BlobDamaged, "", "")) + "; " + a.at(e.Place).listsAll()
}

// isOfImage reports whether a blob is part of an image. What extract reads always is.
func (a *app) isOfImage(err error, e *layout.BlobError) bool {
	if a.running != nil && a.running.Name() == "extract" && a.at(e.Place).ref.Path == a.source().ref.Path {
		return true
	}
	return errors.As(err, new(*layout.OfImageError))
}

// flagBase names the place with the blobs that an archive was packed without.
const flagBase = "base"

// readsArchive reports whether SRC of the running command is an archive, which can have a base.
func (a *app) readsArchive() bool {
	return a.running != nil && a.running.Flags().Lookup(flagBase) != nil && isArchive(a.running.Flags().Arg(0))
}

// isArchive reports whether a place is an archive, judging by its name and what is there.
func isArchive(place string) bool {
	ref, err := layout.ParseReference(place)
	return err == nil && places.IsArchive(ref)
}

// isFarPlace reports whether a place is reached over a network, judging by its name.
func isFarPlace(place string) bool {
	ref, err := layout.ParseReference(place)
	return err == nil && ref.IsFar()
}

func isBlobFault(err error) bool {
	return errors.Is(err, layout.ErrBlobMissing) || isAltered(err)
}

// isAltered reports whether a blob exists with other bytes or another size.
func isAltered(err error) bool {
	return errors.Is(err, layout.ErrBlobSize) || errors.Is(err, layout.ErrBlobDamaged)
}

// hintAmbiguous says how to choose one of several caches with the running command.
func (a *app) hintAmbiguous(e *layout.AmbiguousError) string {
	reference := "put its tag in the reference"
	if at := slices.IndexFunc(e.Tags, func(tag string) bool { return layout.CheckTag(tag) == nil }); at >= 0 {
		if named := withTag(e.Place, e.Tags[at]); named != "" {
			reference += ", such as " + quoted(named)
		}
	}
	if a.running != nil && a.running.Flags().Lookup("tag") == nil {
		return reference
	}
	if to, ok := a.argument(-1); ok && a.running.Name() == "sync" && to.ref.Tag != "" {
		reference += "; or leave the tag off DST to bring all of them: " + quoted(to.whole().ref.String())
	}
	return "choose one with --tag TAG, or " + reference
}
