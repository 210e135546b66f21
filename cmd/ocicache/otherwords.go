package main

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/meant"
	"github.com/ocicache/ocicache/layout"
)

// wordKind is what a word of the command line stands for.
type wordKind int

const (
	aCommand wordKind = iota
	aFlag
	aForm
	aCompression
)

// otherWord is what other programs call something that has another name here.
type otherWord struct {
	kind   wordKind
	words  string // as other programs spell it
	here   string // the command or flag that must exist here for the word to help, "" for none
	advice string // what to say, if more than asking whether here was meant
}

const (
	adviceLogin  = "credentials come from 'docker login', 'podman login' and 'skopeo login'; or use --creds USER --password-stdin, or --authfile"
	adviceStatus = "ls lists caches, inspect shows what is in them, migrate report shows how a migration went"
	advicePush   = "did you mean convert or copy? convert --to auto sends the form that the registry accepts, copy sends the cache as it is"
	adviceForget = "did you mean rm? 'ocicache rm' deletes tags by age and number, 'ocicache prune' drops old results within a cache"
	adviceAll    = "sync and pack take every cache in a place, and a bare path means every cache in it"
	adviceNone   = "nothing is chosen without a flag here: name a tag, or choose with --match, --older-than or --keep"
	adviceLast   = "use --older-than, --keep-records or --keep-bytes within a cache; rm --keep N keeps the newest caches of a place"
	adviceUntil  = "did you mean --match? to choose by age, use --older-than"
	adviceAsIs   = "digests always stay the same, unless a flag asks for a change"
	adviceForce  = "commands never ask for confirmation; --dry-run shows what would be done"
)

// taggedSpellings says how to name one cache of a place.
func taggedSpellings() string { return english.WordSeries(layout.Spellings(":TAG"), "or") }

// otherWords are the words of other programs. The first entry whose command or flag exists counts.
var otherWords = []otherWord{
	{aCommand, "list tags list-tags catalog", "ls", ""},
	{aCommand, "delete remove untag", "rm", ""},
	{aCommand, "forget", "rm", adviceForget},
	{aCommand, "cp pull", "copy", ""},
	{aCommand, "push", "copy", advicePush},
	{aCommand, "mirror", "sync", ""},
	{aCommand, "check fsck validate", "verify", ""},
	{aCommand, "info show stats digest", "inspect", ""},
	{aCommand, "du df usage", "ls", ""},
	{aCommand, "export save backup", "pack", ""},
	{aCommand, "import load restore", "unpack", ""},
	{aCommand, "fix", "repair", ""},
	{aCommand, "recompress", "convert", ""},
	{aCommand, "why", "explain", ""},
	{aCommand, "login logout auth", "ls", adviceLogin},
	{aCommand, "status", "ls", adviceStatus},
	{aFlag, "q quiet silent", "quiet", ""},
	{aFlag, "q quiet silent", "", "use --progress none; results go to standard output, everything else to standard error"},
	{aFlag, "v verbose log-level loglevel trace", "", "use --debug; 'ocicache version' prints the version"},
	{aFlag, "version", "", "use 'ocicache --version' or 'ocicache version'"},
	{aFlag, "format", "to", "use --to FORM for the form of a cache, or --json for JSON output"},
	{aFlag, "o output format", "", "use --json for JSON output; places are plain arguments, without a flag"},
	{aFlag, "a all", "keep", adviceNone},
	{aFlag, "a all", "match", "every cache is chosen unless a flag leaves it out"},
	{aFlag, "a all", "no-preflight", adviceAll},
	{aFlag, "a all", "", "a bare path means every cache in it, for commands that take several"},
	{aFlag, "t", "tag", ""},
	{aFlag, "t tag", "", "the tag is part of the reference: " + taggedSpellings()},
	{aFlag, "l level", "compression-level", ""},
	{aFlag, "filter until", "match", adviceUntil},
	{aFlag, "filter until", "older-than", "use --older-than AGE"},
	{aFlag, "include", "match", ""},
	{aFlag, "n", "dry-run", ""},
	{aFlag, "n dry-run", "write", "nothing is changed without --write"},
	{aFlag, "dry-run", "state", "use 'ocicache migrate check PLAN' to see what would be done"},
	{aFlag, "form", "to", ""},
	{aFlag, "force", "force-compression", ""},
	{aFlag, "force", "overwrite", ""},
	{aFlag, "f force y yes", "dry-run", adviceForce},
	{aFlag, "keep-last", "keep", ""},
	{aFlag, "keep-last keep", "keep-records", adviceLast},
	{aFlag, "compress dest-compress compress-format dest-compress-format", "compression", ""},
	{aFlag, "compress dest-compress compress-format dest-compress-format", "", "convert recompresses on the way, with --compression TYPE"},
	{aFlag, "preserve-digests all-digests", "link", adviceAsIs},
	{aFlag, "keep-storage max-size max-used-space", "keep-bytes", ""},
	{aFlag, "read-data", "deep", ""},
	{aFlag, "image-manifest oci-mediatypes oci-artifact", "to", "use --to artifact"},
	{aFlag, "image-manifest oci-mediatypes oci-artifact", "", "use convert with --to artifact"},
	{aForm, "manifest image-manifest image", "to", "did you mean " + string(buildcache.Artifact) + "?"},
	{aCompression, "none no off store tar", "compression", "did you mean " + string(buildcache.Uncompressed) + "?"},
}

// adviceFor says what replaces another program's word here, or "". there reports whether a command or flag exists.
func adviceFor(kind wordKind, typed string, there func(name string) bool) string {
	for _, word := range otherWords {
		if word.kind != kind || !slices.Contains(strings.Fields(word.words), typed) || word.here != "" && !there(word.here) {
			continue
		}
		switch {
		case word.advice != "":
			return word.advice
		case kind == aFlag:
			return meant.Ask([]string{"--" + word.here})
		default:
			return meant.Ask([]string{word.here})
		}
	}
	return ""
}

// hasFlagOf returns a function that reports whether a command has a flag.
func hasFlagOf(cmd *cobra.Command) func(string) bool {
	return func(name string) bool { return cmd.Flags().Lookup(name) != nil }
}

// everywhere is for words that don't depend on a command or flag.
func everywhere(string) bool { return true }

// levelPattern matches a compression and its level in one word, as other programs spell it.
var levelPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([a-z]+)[:=-](\d+)$`) })

// unknownCompression adds to an error the compression that was probably meant.
func unknownCompression(err error, typed string) error {
	typed = strings.ToLower(typed)
	if m := levelPattern().FindStringSubmatch(typed); m != nil && slices.Contains(names(buildcache.Compressions()), m[1]) {
		return &wordError{err, "did you mean --compression " + m[1] + " --compression-level " + m[2] + "?"}
	}
	if advice := adviceFor(aCompression, typed, everywhere); advice != "" {
		return &wordError{err, advice}
	}
	return unknownWord(err, typed, names(buildcache.Compressions()))
}

// unknownForm adds to an error the form that was probably meant.
func unknownForm(err error, typed string) error {
	if advice := adviceFor(aForm, strings.ToLower(typed), everywhere); advice != "" {
		return &wordError{err, advice}
	}
	if typed = strings.ToLower(typed); slices.Contains(names(buildcache.Compressions()), typed) {
		return &wordError{err, "did you mean --compression " + typed + "?"}
	}
	return unknownWord(err, typed, append(names(buildcache.Forms()), auto))
}
