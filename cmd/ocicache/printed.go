package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// quoted returns a word quoted for a shell, in printable characters.
func quoted(word string) string {
	special := func(r rune) bool {
		return !strings.ContainsRune("@%+=:,./-_", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	switch {
	case word != "" && !strings.ContainsFunc(word, special):
		return word
	case clean(word) != word || strings.Contains(word, "`"): // mention would take ` for the end
		return "$'" + escaped(word) + "'"
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// escaped writes unprintable bytes as \xNN, as bash, zsh and ksh read them within $'…'.
func escaped(word string) string {
	var out strings.Builder
	for i := 0; i < len(word); i++ {
		switch c := rune(word[i]); {
		case c == '\'' || c == '\\':
			out.WriteString(`\` + string(c))
		case c == '`':
			out.WriteString(`\x60`)
		case c <= unicode.MaxASCII && unicode.IsPrint(c):
			out.WriteRune(c)
		default:
			fmt.Fprintf(&out, `\x%02x`, word[i])
		}
	}
	return out.String()
}

// pathArgument returns a path as an argument of a printed command, spelled so that it is neither an option nor another kind of
// reference.
func pathArgument(path string) string {
	ref, err := layout.ParseReference(path)
	if err != nil || ref != (layout.Reference{Transport: layout.TransportPath, Path: path}) || strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	return quoted(path)
}

// mention returns a command as part of a sentence, between quotes of a kind that it does not contain.
func mention(command string) string {
	if strings.Contains(command, "'") {
		return "`" + command + "`"
	}
	return "'" + command + "'"
}

// onPath returns a command about a directory as a whole.
func onPath(name, path string, more ...string) string {
	return strings.Join(append([]string{"ocicache", name, pathArgument(path)}, more...), " ")
}

// tagCommand returns the command that gives a tag to a root in a directory. A path with a colon can't be combined with a digest in a
// reference.
func tagCommand(path string, root digest.Digest) string {
	want := layout.Reference{Transport: layout.TransportLayout, Path: path, Digest: root}
	if ref, err := layout.ParseReference(want.String()); err == nil && ref == want {
		return fmt.Sprintf("ocicache tag %s TAG", quoted(want.String()))
	}
	return onPath("repair", path, "--tag", "TAG", "--root", root.String(), "--write")
}

// importOf returns the value of --cache-from for a cache in a place, or "" if none needs to be given: in a directory BuildKit looks for the
// tag latest, and without tag= would get no hits from any other.
func importOf(place layout.Reference, tag string, root digest.Digest) string {
	if place.IsLocal() && tag == layout.DefaultTag {
		return ""
	}
	return places.CacheFrom(place, tag, root)
}

// sayImport writes the option that imports a cache, called name, to be copied to a shell. After a dry run there may be none to import yet.
func sayImport(w io.Writer, name, cacheFrom string, isThere bool) {
	if cacheFrom != "" && isThere {
		sayCommand(w, "import "+name+" with --cache-from "+quoted(cacheFrom))
	}
}
