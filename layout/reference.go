package layout

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Transport is the kind of place that a reference names.
type Transport string

// The transports. A bare path is TransportPath until somebody checks what is there.
const (
	TransportPath     Transport = "path"
	TransportLayout   Transport = "oci"
	TransportArchive  Transport = "oci-archive"
	TransportRegistry Transport = "docker"
	TransportStream   Transport = "-"
)

// Reference is how the command line names a cache in a place.
type Reference struct {
	Transport Transport
	Path      string        // for a registry, its host and repository
	Tag       string        // "" if none was given
	Digest    digest.Digest // of a root, in a registry or a layout, "" if none was given
}

// kind says how references to one kind of place are spelled.
type kind struct {
	transport Transport
	prefix    string // of the reference
	path      string // what follows the prefix, as messages name it
	far       bool   // reached over a network
	split     func(k kind, text, rest string) (Reference, error)
}

// kinds is the one table of the places that have a prefix.
func kinds() []kind {
	return []kind{
		{transport: TransportLayout, prefix: "oci:", path: "DIR", split: splitLayout},
		{transport: TransportArchive, prefix: "oci-archive:", path: "FILE", split: splitTag},
		{transport: TransportRegistry, prefix: schemeRegistry, path: "HOST/REPOSITORY", far: true, split: splitName},
	}
}

const schemeRegistry = "docker://"

// kindOf returns the kind whose prefix text starts with, and what follows the prefix.
func kindOf(text string) (k kind, rest string, ok bool) {
	for _, k := range kinds() {
		if rest, ok := strings.CutPrefix(text, k.prefix); ok {
			return k, rest, true
		}
	}
	return kind{}, "", false
}

// isURL reports whether references of the kind look like URLs. No other program means anything else by those.
func (k kind) isURL() bool { return strings.HasSuffix(k.prefix, "://") }

// Spellings returns how references with a prefix are written, such as oci:DIR, each followed by end.
func Spellings(end string) []string {
	var all []string
	for _, k := range kinds() {
		all = append(all, k.prefix+k.path+end)
	}
	return all
}

// IsLocal reports whether the reference names something by its path on this machine.
func (r Reference) IsLocal() bool { return r.Transport != TransportStream && !r.IsFar() }

// IsFar reports whether the reference names a place that is reached over a network: using it takes requests, and its bytes
// are on no disk of this machine.
func (r Reference) IsFar() bool {
	return slices.ContainsFunc(kinds(), func(k kind) bool { return k.far && k.transport == r.Transport })
}

// ErrReference marks text that is not a valid reference.
var ErrReference = errors.New("not a reference")

// ParseReference reads a reference as skopeo and podman spell it: oci:DIR[:TAG], oci-archive:FILE[:TAG],
// docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST], - for a stream, or a bare path, which is never cut at a colon. An untagged root in
// a layout is oci:DIR@DIGEST; in oci:DIR:TAG, everything after DIR: is the tag, even a digest. It doesn't look at the disk.
func ParseReference(text string) (Reference, error) {
	if text == "" {
		return Reference{}, fmt.Errorf("%w: it is empty", ErrReference)
	}
	if err := checkSecrets(text); err != nil {
		return Reference{}, err
	}
	if strings.ContainsRune(text, 0) {
		return Reference{}, fmt.Errorf("%w: %q contains a NUL", ErrReference, text)
	}
	if text == string(TransportStream) {
		return Reference{Transport: TransportStream}, nil
	}
	k, rest, ok := kindOf(text)
	if !k.isURL() {
		if meant, ok := misspelt(text); ok {
			return Reference{}, &SpellingError{Text: text, Meant: meant}
		}
	}
	if !ok {
		return Reference{Transport: TransportPath, Path: text}, nil
	}
	return k.split(k, text, rest)
}

// namesHost reports whether the name of a repository starts with a host that is unlikely to be the name of a directory.
func namesHost(name string) bool {
	host, _, below := strings.Cut(name, "/")
	return below && (host == "localhost" || strings.ContainsAny(host, ".:") && !strings.HasPrefix(host, "."))
}

// misspelt reports whether text is spelled as in another program, and what is meant, "" if there is no equivalent here.
func misspelt(text string) (meant string, ok bool) {
	for _, other := range []struct{ prefix, ours string }{
		{"https://", "docker://"},
		{"http://", "docker://"},
		{"registry://", "docker://"},
		{"docker:", "docker://"},
		{"ocidir://", "oci:"},
		{"oci://", "oci:"},
		{"oci-layout://", "oci:"},
		{"oci-layout:", "oci:"},
		{"oci-archive://", "oci-archive:"},
		{"dir:", ""},
		{"docker-archive:", ""},
		{"docker-daemon:", ""},
		{"containers-storage:", ""},
	} {
		rest, ok := cutPrefixFold(text, other.prefix)
		switch {
		case !ok || other.ours != schemeRegistry && !strings.HasPrefix(text, other.prefix): // a path may have that name
		case other.prefix == "oci://" && namesHost(rest): // Helm and Flux write registries like this
			return schemeRegistry + rest, true
		case other.ours == schemeRegistry:
			return schemeRegistry + strings.TrimLeft(rest, "/"), true
		case other.ours == "":
			return "", true
		default:
			return other.ours + rest, true
		}
	}
	if strings.HasPrefix(text, "type=") {
		return misspeltFields(text), true
	}
	return "", false
}

// cutPrefixFold is strings.CutPrefix, ignoring case.
func cutPrefixFold(text, prefix string) (rest string, ok bool) {
	if len(text) < len(prefix) || !strings.EqualFold(text[:len(prefix)], prefix) {
		return "", false
	}
	return text[len(prefix):], true
}

// misspeltFields is misspelt for a cache given as in BuildKit's --cache-to and --cache-from.
func misspeltFields(text string) (meant string) {
	fields := map[string]string{}
	for field := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(field, "=")
		fields[key] = value
	}
	dir := cmp.Or(fields["src"], fields["dest"])
	switch {
	case fields["ref"] != "":
		return "docker://" + fields["ref"]
	case dir == "": // another kind of cache
		return ""
	case fields["tag"] != "":
		return "oci:" + dir + ":" + fields["tag"]
	default:
		return "oci:" + dir
	}
}

// splitLayout cuts DIR@DIGEST, or else DIR:TAG.
func splitLayout(k kind, text, rest string) (Reference, error) {
	if ref, err := splitDigest(text, rest); err != nil || ref.Digest != "" {
		return ref, err
	}
	return splitTag(k, text, rest)
}

// splitTag cuts PATH:TAG at the first colon, as the containers tools do.
func splitTag(k kind, text, rest string) (Reference, error) {
	path, tag, tagged := strings.Cut(rest, ":")
	if path == "" {
		return Reference{}, fmt.Errorf("%w: %q has no path", ErrReference, text)
	}
	if tagged && !isTag(tag) {
		return Reference{}, fmt.Errorf("%w: %q is not a valid tag in %q", ErrReference, cut(tag), cut(text))
	}
	return Reference{Transport: k.transport, Path: path, Tag: tag}, nil
}

// splitDigest cuts DIR@ALGORITHM:HEX. DIR has no colon: if it has one, text is DIR:TAG. For any other text, the reference it returns
// has no digest.
func splitDigest(text, rest string) (Reference, error) {
	head, _, _ := strings.Cut(rest, ":")
	at := strings.LastIndexByte(head, '@')
	if at < 0 || at+1 == len(rest) || !digest.Algorithm(head[at+1:]).Available() {
		return Reference{}, nil
	}
	ref := Reference{Transport: TransportLayout, Path: head[:at], Digest: digest.Digest(rest[at+1:])}
	if err := buildcache.CheckDigest(ref.Digest); err != nil {
		return Reference{}, fmt.Errorf("%w: %q: %w", ErrReference, text, err)
	}
	if ref.Path == "" {
		return Reference{}, fmt.Errorf("%w: %q has no path", ErrReference, text)
	}
	return ref, nil
}

// splitName cuts HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST. Whether host and repository are valid is checked when the
// place is opened.
func splitName(k kind, text, name string) (Reference, error) {
	ref := Reference{Transport: k.transport, Path: name}
	if path, hash, ok := strings.Cut(name, "@"); ok {
		ref.Path, ref.Digest = path, digest.Digest(hash)
		if err := buildcache.CheckDigest(ref.Digest); err != nil {
			return Reference{}, fmt.Errorf("%w: %q: %w", ErrReference, text, err)
		}
	}
	if name, tag, ok := cutSlashedTag(ref.Path); ok && ref.Digest == "" {
		return Reference{}, fmt.Errorf("%w: %w", ErrReference, newTagError(tag, fmt.Sprintf("%q is not a valid tag in %q", cut(tag), cut(text)), k.prefix+name+":"))
	}
	slash := strings.LastIndexByte(ref.Path, '/')
	if at := strings.IndexByte(ref.Path[slash+1:], ':'); at >= 0 {
		ref.Path, ref.Tag = ref.Path[:slash+1+at], ref.Path[slash+2+at:]
		if !isNewTag(ref.Tag) { // no registry accepts others
			return Reference{}, fmt.Errorf("%w: %q is not a valid tag in %q", ErrReference, cut(ref.Tag), cut(text))
		}
	}
	host, repository, _ := strings.Cut(ref.Path, "/")
	switch {
	case repository == "":
		return Reference{}, fmt.Errorf("%w: %q has no repository (want docker://HOST[:PORT]/REPOSITORY)", ErrReference, text)
	case !IsHost(host):
		return Reference{}, &SpellingError{Text: text, Meant: "docker://docker.io/" + name}
	case ref.Tag != "" && ref.Digest != "":
		return Reference{}, fmt.Errorf("%w: %q has both a tag and a digest; leave one of them out", ErrReference, text)
	}
	return ref, nil
}

// IsHost reports whether a word is a host, by the rule of programs that handle images: it has a dot or a port, or is
// localhost.
func IsHost(word string) bool {
	if strings.HasPrefix(word, "[") { // an IPv6 address
		return true
	}
	name, port, hasPort := strings.Cut(word, ":")
	if hasPort && (port == "" || strings.Trim(port, "0123456789") != "") {
		return false
	}
	return name != "" && (hasPort || name == "localhost" || strings.Contains(strings.Trim(name, "."), "."))
}

// SpellingError says that text looks like a reference of another program.
type SpellingError struct {
	Text  string
	Meant string // what is probably meant, "" if there is no equivalent here
	// Secret says that text had a user, a password or a query. These are neither in Text nor in Meant.
	Secret bool
}

func (e *SpellingError) Error() string {
	if e.Secret {
		return fmt.Sprintf("%q is not a reference: references can't contain users, passwords or queries, which are not shown here", e.Text)
	}
	if e.Meant == "" {
		return fmt.Sprintf("%q names an unknown kind of place (want %s or a path)", e.Text, strings.Join(Spellings(""), ", "))
	}
	return fmt.Sprintf("%q is not a reference", e.Text)
}

// Unwrap returns ErrReference.
func (e *SpellingError) Unwrap() error { return ErrReference }

// cut shortens for an error what is longer than any tag, or any sensible reference.
func cut(text string) string {
	const most, shown = 512, 64
	if len(text) <= most {
		return text
	}
	return fmt.Sprintf("%s... (%d bytes)", text[:shown], len(text))
}

// cutAll lists the first tags, each shortened by cut.
func cutAll(tags []string) string {
	const shown = 12
	var short []string
	for _, tag := range tags[:min(len(tags), shown)] {
		short = append(short, cut(tag))
	}
	if more := len(tags) - len(short); more > 0 {
		short = append(short, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(short, ", ")
}

// String returns the reference as ParseReference reads it.
func (r Reference) String() string {
	switch r.Transport {
	case TransportPath:
		return r.Path
	case TransportStream:
		return string(r.Transport)
	default:
		text := r.prefix() + r.Path
		if r.Tag != "" {
			text += ":" + r.Tag
		}
		if r.Digest != "" {
			text += "@" + r.Digest.String()
		}
		return text
	}
}

// prefix returns what references of this kind start with.
func (r Reference) prefix() string {
	for _, k := range kinds() {
		if k.transport == r.Transport {
			return k.prefix
		}
	}
	return string(r.Transport) + ":"
}
