package registry

import (
	"strings"
	"testing"
)

// FuzzRedact puts secrets where addresses have them, with any text around, and wants none of them shown.
func FuzzRedact(f *testing.F) {
	for _, around := range []string{"", `Put "`, "https://", "a:b@", "http://x?y ", "\x00\n", "?", "docker://", "://"} {
		f.Add(around, around)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "hunter2-5f1d"
		if strings.Contains(before+after, secret) {
			return
		}
		for _, address := range []string{
			"https://store.example/blob?X-Signature=" + secret + "&b=1", "http://ann:" + secret + "@registry.example/v2/",
			"https://ann:" + secret + "@store.example/blob?_state=" + secret,
		} {
			if shown := redact(before + " " + address + " " + after); strings.Contains(shown, secret) {
				t.Errorf("%q and %q around %q give %q", before, after, address, shown)
			}
		}
	})
}
