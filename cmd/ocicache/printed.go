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

// quoted returns a word as a shell reads it, in printable characters.
func quoted(word string) string {
	special := func(r rune) bool {
		return !strings.ContainsRune("@%+=:,./-_", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	switch {
	case word != "" && !strings.ContainsFunc(word, special):
		return word
	case clean(word) != word || strings.Contains(word, "`"): // which mention takes for an end
		return "$'" + escaped(word) + "'"
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// escaped writes what can't be printed as \xNN, byte by byte, as bash, zsh and ksh read it within $'…'.
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

// pathArgument returns a path as an argument of a command that is printed, where it means just that path: it is neither an option nor
// a reference of another kind.
func pathArgument(path string) string {
	ref, err := layout.ParseReference(path)
	if err != nil || ref != (layout.Reference{Transport: layout.TransportPath, Path: path}) || strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	return quoted(path)
}

// mention returns a command as part of a sentence: between quotes, of a kind that it has none of.
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

// tagCommand returns the command that gives a root in a directory a tag. One with a colon has no reference with a digest.
func tagCommand(path string, root digest.Digest) string {
	want := layout.Reference{Transport: layout.TransportLayout, Path: path, Digest: root}
	if ref, err := layout.ParseReference(want.String()); err == nil && ref == want {
		return fmt.Sprintf("ocicache tag %s TAG", quoted(want.String()))
	}
	return onPath("repair", path, "--tag", "TAG", "--root", root.String(), "--write")
}

// importOf returns how BuildKit is told of a cache in a place, "" where it takes that unasked: in a directory it looks for the tag latest, and a
// build without tag= would get no hits from another one.
func importOf(place layout.Reference, tag string, root digest.Digest) string {
	if place.IsLocal() && tag == layout.DefaultTag {
		return ""
	}
	return places.CacheFrom(place, tag, root)
}

// sayImport writes the option that imports a cache, as it is to be copied to a shell.
func sayImport(w io.Writer, cacheFrom string) {
	if cacheFrom != "" {
		sayCommand(w, "import it with --cache-from "+quoted(cacheFrom))
	}
}
