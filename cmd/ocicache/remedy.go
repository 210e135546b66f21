package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

const (
	// archiveRemedy is what helps where an archive is damaged, which nothing mends.
	archiveRemedy = "carry the archive over again from where it is whole; packed with --volume-size and --parity, lost volumes can be rebuilt"

	// farRemedy is what helps where a registry has a blob with other bytes: it takes no blob that it has, from anybody.
	farRemedy = "those who run the registry have to delete the damaged blob first, as it takes none that it has: " +
		"'ocicache repair REF --deep --base PLACE --write' gives it back then; or export the cache to another repository"

	// keptRemedy is that for a blob that a cache can do without.
	keptRemedy = "'ocicache repair REF --deep --write' drops what needs it; to have it whole again, " + farRemedy
)

// whenFreed says when gc frees what no tag names any more.
const whenFreed = "after a day, or at once with --keep-since 0s where nothing else writes there"

// frees says that of the blobs of a directory.
func frees(dir string) string {
	return "'ocicache gc " + pathArgument(dir) + "' frees them " + whenFreed
}

// fitRemedies makes remedies those that help in a place, as commands that can be pasted.
func (a *app) fitRemedies(from *places.Opened, problems []buildcache.Problem) {
	refuses := gcRefuses(problems)
	for i := range problems {
		p := &problems[i]
		if refuses && (p.Kind == buildcache.Unreachable || p.Kind == buildcache.Leftover) {
			p.Remedy = "mend what is missing first, which may be among them; 'ocicache gc DIR' refuses until then"
		}
		p.Remedy = a.remedyFor(from, *p)
	}
}

// gcRefuses reports whether gc removes nothing in a directory with these problems: it can't know what is needed.
func gcRefuses(problems []buildcache.Problem) bool {
	return slices.ContainsFunc(problems, func(p buildcache.Problem) bool {
		switch p.Kind { //nolint:exhaustive // the others are no reason
		case buildcache.IndexInvalid, buildcache.RootMissing, buildcache.RootDamaged, buildcache.RootInvalid, buildcache.ConfigMissing, buildcache.BlobMissing:
			return true
		}
		return false
	})
}

// remedyFor names another remedy where what fits a directory does not help: an archive is not mended, and a registry keeps what it has.
func (a *app) remedyFor(from *places.Opened, p buildcache.Problem) string {
	ref, remedy := from.Reference, p.Remedy
	switch {
	case places.IsArchive(ref) && isRequired(from.Source, p.Digest):
		return a.requiredRemedy(ref.Path)
	case places.IsArchive(ref) && strings.Contains(remedy, "'ocicache repair"):
		return archiveRemedy
	case isRegistry(ref) && p.Kind == buildcache.BlobDamaged:
		remedy = keptRemedy
	case isRegistry(ref) && (p.Kind == buildcache.ConfigDamaged || p.Kind == buildcache.RootDamaged):
		remedy = farRemedy
	case ref.IsLocal() && p.Kind == buildcache.Untagged && p.Digest != "":
		remedy = strings.ReplaceAll(remedy, "ocicache tag oci:DIR@DIGEST TAG", tagCommand(ref.Path, p.Digest))
	}
	if ref.Digest == "" { // else it needs a tag first
		here := a.commandLine("ocicache repair", a.running.Flags().Args()[:1], func(f *pflag.Flag) bool { return notOfRegistries(f) && f.Name != "tag" })
		remedy = strings.ReplaceAll(remedy, repairHere, here)
	}
	return strings.ReplaceAll(remedy, "ocicache gc DIR", "ocicache gc "+pathArgument(ref.Path))
}

// repairHere is what remedies call repairing the place that they are about.
const repairHere = "ocicache repair REF"

// requiredRemedy is what helps where an archive is whole, but was packed without what is looked for.
func (a *app) requiredRemedy(file string) string {
	return fmt.Sprintf("the archive was packed without what the far side has: '%s' looks there too, PLACE being a layout, an archive or a repository "+
		"that has it, and 'ocicache unpack %s DIR --base PLACE' takes it from there", a.repeated(a.running.CommandPath(), flagBase, "PLACE"), pathArgument(file))
}

// remedyIn is a remedy for a place that an error names.
func remedyIn(place, remedy string) string {
	name := pathArgument(place)
	if isRegistryPlace(place) {
		name = quoted(place)
	}
	return strings.ReplaceAll(remedy, repairHere, "ocicache repair "+name)
}

// remedyOfSource is a remedy for what the command that is running reads, where that is one place.
func (a *app) remedyOfSource(remedy string) string {
	if a.running == nil || !slices.Contains([]string{"convert", "copy", "sync", "prune"}, a.running.Name()) {
		return remedy
	}
	ref, err := layout.ParseReference(a.running.Flags().Arg(0))
	if err != nil || ref.Digest != "" { // which is not mended
		return remedy
	}
	return strings.ReplaceAll(remedy, repairHere, "ocicache repair "+quoted(a.running.Flags().Arg(0)))
}

// isRequired reports whether an archive was packed without a blob, and no base was named.
func isRequired(src layout.Source, blob digest.Digest) bool {
	packed, ok := src.(*archive.Archive)
	if !ok || packed.Description() == nil {
		return false
	}
	return slices.ContainsFunc(packed.Description().Requires, func(b archive.Blob) bool { return b.Digest == blob })
}
