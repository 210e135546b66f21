package layout

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// hidden replaces what must not be shown.
const hidden = "***"

// checkSecrets fails for text that contains a user, a password or a query, as other programs' addresses do, or the credentials of
// another kind of cache. The error shows none of them.
func checkSecrets(text string) error {
	if strings.HasPrefix(text, "type=") {
		return checkFields(text)
	}
	_, rest, ok := strings.Cut(text, "://")
	if !ok {
		var scheme string
		if scheme, rest, ok = strings.Cut(text, ":"); !ok || scheme != string(TransportRegistry) {
			return nil // a path may have anything in it
		}
	}
	shown, meant := withoutSecrets(rest)
	if shown == rest {
		return nil
	}
	prefix := schemeRegistry
	if k, _, ok := kindOf(text); ok && k.isURL() {
		prefix = k.prefix
	}
	return &SpellingError{Text: text[:len(text)-len(rest)] + shown, Meant: prefix + strings.TrimLeft(meant, "/"), Secret: true}
}

// checkFields is checkSecrets for a cache given as in BuildKit's --cache-to and --cache-from.
func checkFields(text string) error {
	kind, _, _ := strings.Cut(text, ",")
	if _, rest, ok := strings.Cut(text, ",ref="); ok {
		if shown, meant := withoutSecrets(rest); shown != rest {
			meant, _, _ = strings.Cut(meant, ",")
			return &SpellingError{Text: kind + ",ref=" + shown, Meant: "docker://" + meant, Secret: true}
		}
	}
	for field := range strings.SplitSeq(text, ",") {
		key, _, _ := strings.Cut(strings.ToLower(field), "=")
		for _, word := range []string{"token", "secret", "password", "key"} {
			if strings.Contains(key, word) {
				return &SpellingError{Text: kind + "," + hidden, Secret: true}
			}
		}
	}
	return nil
}

// withoutSecrets returns an address as it may be shown, and as it was probably meant: without user, password and query.
func withoutSecrets(address string) (shown, meant string) {
	query := ""
	if at := strings.IndexAny(address, "?#"); at >= 0 {
		if host, repository, _ := strings.Cut(address[:at], "/"); repository != "" && IsHost(host) {
			address, query = address[:at], address[at:at+1]+hidden
		}
	}
	user := ""
	if at := userEnd(address); at > 0 {
		address, user = address[at:], hidden+"@"
	}
	if at := strings.IndexAny(address, "?#"); at >= 0 {
		address, query = address[:at], address[at:at+1]+hidden
	}
	return user + address + query, address
}

// userEnd returns where the user and password before a host end, or 0 if there are none. What follows the last @ may be a digest.
func userEnd(address string) int {
	for at := strings.LastIndexByte(address, '@'); at >= 0; at = strings.LastIndexByte(address[:at], '@') {
		behind := address[at+1:]
		algorithm, _, _ := strings.Cut(behind, ":")
		if digest.Algorithm(algorithm).Available() {
			continue
		}
		if strings.Contains(behind, "/") || !strings.Contains(address[:at], "/") {
			return at + 1
		}
	}
	return 0
}
