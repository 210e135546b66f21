package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/meant"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// hint returns what probably helps with an error, or "". It depends on the error's type, never on its text.
func (a *app) hint(err error) string {
	for _, find := range []func(error) string{a.hintMigration, a.hintUsage, hintOutput, hintProvenance, a.hintArchive, a.hintIndex, a.hintPlace, a.hintImage, a.hintMerge, a.hintCompression, a.hintCache, a.hintRegistry, a.hintConnection, a.hintSystem} {
		if text := find(err); text != "" {
			return text
		}
	}
	return ""
}

// hintMigration is about plans and unfinished migrations.
func (a *app) hintMigration(err error) string {
	var (
		left    *migrate.IncompleteError
		plan    *migrate.PlanError
		noState *migrate.NoStateError
	)
	switch {
	case errors.As(err, &left) && a.running != nil && a.running.Name() == "run":
		return a.hintAgain(left.Summary)
	case errors.As(err, &plan):
		return "nothing was done; 'ocicache migrate check --schema' prints a JSON schema that editors can check the plan with"
	case errors.As(err, &noState) && a.running != nil && a.running.Name() == "report":
		return "report reads the state files that 'migrate run --state FILE' writes, and logs of what 'migrate run --json' prints"
	case errors.As(err, &noState):
		return "--state only creates a new file or appends to a state file; choose another name"
	}
	return ""
}

func (a *app) hintUsage(err error) string {
	var (
		notThere    *places.NotThereError
		notWritable *places.NotWritableError
		isFile      *places.IsFileError
		host        *places.HostError
		spelling    *layout.SpellingError
		word        *wordError
		age         *convert.AgeError
		either      *eitherError
		expression  *regexpError
		tag         *layout.TagError
	)
	switch {
	case errors.As(err, &expression):
		return fmt.Sprintf("--match takes shell patterns, not regular expressions, and matches the whole tag: * stands for anything, such as --match %s; "+
			"for several patterns, repeat the flag", quoted(shellPattern(expression.pattern, expression.tags)))
	case errors.As(err, &tag):
		return a.hintTag(tag, errors.As(err, new(*convert.SyncError)))
	case errors.As(err, &either):
		return a.hintEither(either)
	case errors.As(err, &age) && age.Meant != "":
		return meant.Ask([]string{age.Meant})
	case errors.As(err, &word):
		return word.advice
	case errors.As(err, &notWritable), errors.As(err, &isFile) && !a.writesArchives():
		return a.hintAsWhole()
	case errors.As(err, &spelling):
		return a.hintSpelling(spelling)
	case errors.As(err, &isFile):
		return "to replace it with an archive, use " + quoted("oci-archive:"+isFile.Path) + " and --overwrite"
	case errors.As(err, &notThere):
		return hintNotThere(notThere)
	case errors.As(err, &host):
		return fmt.Sprintf("did you mean %s? for a directory of that name, write %s", quoted("docker://"+host.Path), quoted("./"+host.Path))
	}
	return ""
}

// hintTag is about a tag that registries don't take: the one of a cache that is to go there, or one that was typed.
func (a *app) hintTag(e *layout.TagError, inSource bool) string {
	switch {
	case inSource && strings.ContainsAny(e.Tag, `*?[\`): // which mean something else in a pattern
		return "registries take no such tag: give the cache another one"
	case inSource:
		return "registries take no such tag: leave it out with --exclude " + quoted(e.Tag) + ", or give the cache another one"
	case e.Meant != "":
		return "registries take no tags with a / in them; did you mean " + quoted(e.Meant) + "?"
	}
	return ""
}

// asWhole says how archives are written.
const asWhole = "an archive can't be changed once written: make one with pack, or copy or convert one cache to oci-archive:FILE"

// hintAsWhole says how archives are written or repaired.
func (a *app) hintAsWhole() string {
	if a.running == nil || a.running.Name() != "repair" {
		return asWhole
	}
	return "an archive can't be repaired: if it is damaged, copy it again from an intact original; while it can be read, " + a.mentionUnpack("") +
		" makes a layout of it, lost volumes included that can be rebuilt, and pack makes an archive of that"
}

// hintNotThere suggests what a path to nothing probably meant.
func hintNotThere(e *places.NotThereError) string {
	switch {
	case e.Short && e.Meant != "":
		return fmt.Sprintf("give the whole digest; did you mean %s?", quoted(e.Meant))
	case e.Short:
		return "give the whole digest; ls --json shows it"
	case e.Meant != "" && !strings.HasSuffix(e.Meant, e.Path):
		return fmt.Sprintf("a tag goes after a colon; did you mean %s?", quoted(e.Meant))
	case e.Meant != "":
		return fmt.Sprintf("a bare path is never split at a colon; did you mean %s?", quoted(e.Meant))
	case isKnownHost(e.Path):
		return "did you mean " + quoted("docker://"+e.Path+"/REPOSITORY") + "? a registry needs a repository name"
	}
	return ""
}

// hintEither is about a flag that could mean either registry. Credentials are not repeated for both.
func (a *app) hintEither(e *eitherError) string {
	if e.flag != "tls-verify" && e.flag != "cert-dir" {
		return ""
	}
	return "for both: " + a.onBothSides(e.flag)
}

// hintSpelling is about text that is not a reference.
func (a *app) hintSpelling(e *layout.SpellingError) string {
	switch {
	case e.Meant == "":
		return ""
	case strings.HasPrefix(e.Meant, string(layout.TransportArchive)+":") && !a.writesArchives():
		return asWhole + "; for a directory of that name, write " + quoted("./"+e.Text)
	case e.Secret && strings.HasPrefix(e.Meant, "docker://"):
		return fmt.Sprintf("did you mean %s? give credentials with --creds USER and --password-stdin, or log in first", quoted(e.Meant))
	case a.takesPlain(e.Text):
		return fmt.Sprintf("did you mean %s? for plain HTTP, add --tls-verify=false", quoted(e.Meant))
	default:
		return fmt.Sprintf("did you mean %s?", quoted(e.Meant))
	}
}

// takesPlain reports whether text asks for plain HTTP, and the running command has a flag for that.
func (a *app) takesPlain(text string) bool {
	const scheme = "http://"
	return len(text) > len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) && a.running != nil && a.running.Flags().Lookup("tls-verify") != nil
}

// isKnownHost reports whether a path to nothing is a registry's name rather than a file's.
func isKnownHost(path string) bool {
	_, known := registry.ProfileForHost(path)
	return layout.IsHost(path) && (known || path == "localhost" || strings.Contains(path, ":"))
}

// hintOutput is about files that are written in addition to the result.
func hintOutput(err error) string {
	var taken *durable.OutputTakenError
	switch {
	case !errors.As(err, &taken):
		return ""
	case taken.Spared:
		return "choose another name"
	}
	return "choose another name, or replace it with --overwrite"
}

// writesArchives reports whether the running command accepts an archive as DST.
func (a *app) writesArchives() bool {
	if a.running == nil {
		return true
	}
	flag := a.running.Flags().Lookup("overwrite")
	return flag != nil && flag.Annotations[ofArchives] != nil
}

// hintProvenance is about what explain needs.
func hintProvenance(err error) string {
	var (
		without *provenance.NoStepsError
		none    *noProvenanceError
		side    *sideError
	)
	switch {
	case errors.As(err, &none), errors.As(err, &without), errors.Is(err, provenance.ErrNoProvenance):
		return "BuildKit's history keeps the steps of every successful build for a few days, even if the image only has mode=min: " +
			"'docker buildx history export -o FILE', or with buildctl \"buildctl debug histories --format '{{json .}}' | " +
			"jq -r '.record.Result.Attestations[0].digest'\", then 'buildctl debug get DIGEST > provenance.json'; images have the steps if built with " +
			"--provenance=mode=max, and buildx's --metadata-file with BUILDX_METADATA_PROVENANCE=max"
	case errors.As(err, &side):
		return hintSide(side)
	}
	return ""
}

// hintSide is about what the flags of explain name. There is no --tag for that.
func hintSide(e *sideError) string {
	var (
		noImage   *layout.NoImageError
		ambiguous *layout.AmbiguousError
	)
	switch {
	case errors.As(e, &noImage) && noImage.Cache:
		return "this is a cache; give the image, or a file with provenance"
	case errors.As(e, &noImage) && len(noImage.Tags) == 0, errors.Is(e, layout.ErrNotLayout) && e.flag != flagNewCache:
		return "give an image that has provenance, or a file with provenance"
	case errors.As(e, &noImage), errors.As(e, &ambiguous):
		return "put the tag in the reference: " + taggedSpellings()
	}
	return ""
}

// hintRoom is about a lack of space that is known beforehand. Other caches of the same command may still fit.
func hintRoom(err error, first *layout.RoomError) string {
	text := fmt.Sprintf("%s needed, %s free; ", size(first.Need), size(first.Free))
	var several *convert.SyncError
	if !errors.As(err, &several) || several.Of == 1 {
		return text + "nothing was written"
	}
	without := slices.DeleteFunc(slices.Clone(several.Errs), func(err error) bool {
		var room *layout.RoomError
		return !errors.As(err, &room)
	})
	if len(without) == 1 {
		return text + "nothing was written of the cache that does not fit"
	}
	return text + "nothing was written of the caches that do not fit"
}

// hintSystem is about the machine, and about this program.
func (a *app) hintSystem(err error) string {
	var caught *parallel.PanicError
	var output *outputError
	var room *layout.RoomError
	switch {
	case errors.As(err, &room):
		return hintRoom(err, room)
	case errors.As(err, &caught):
		return "please report this, with the command and the output of 'ocicache version'; no tag was moved to an unchecked result"
	case errors.As(err, &output):
		return "the work itself is done; only printing the result failed"
	case isFull(err):
		return hintFullDisk(err)
	case errors.Is(err, syscall.EROFS):
		return "can't write there: the file system is read-only" + a.hintElsewhere()
	case errors.Is(err, fs.ErrPermission):
		return "this user doesn't have permission there" + a.hintElsewhere()
	case isUnreadableBlob(err):
		return "the disk can't read this file; once it is removed, verify says what helps"
	}
	return ""
}

// isUnreadableBlob reports whether a failing disk can't read the file of a blob in a directory.
func isUnreadableBlob(err error) bool {
	var blob *layout.BlobError
	var path *fs.PathError
	return errors.Is(err, syscall.EIO) && errors.As(err, &blob) && blob.Digest.Validate() == nil &&
		errors.As(err, &path) && path.Op == "read" && filepath.Base(path.Path) == blob.Digest.Encoded()
}
