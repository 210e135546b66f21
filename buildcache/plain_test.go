package buildcache

import (
	"encoding/json"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestDecodePlain says that what is read without encoding/json is what that reads, and that the rest is left to it.
func TestDecodePlain(t *testing.T) {
	t.Parallel()
	plain := 0
	for _, value := range []string{
		`"a"`, `""`, `"a b/c:d@e"`, `"<&>"`, `"\u0041"`, `"a\"b"`, `"é"`, "\"\xff\"", "\"\x01\"", `"a`, `a"`, `"`, `null`, `true`, `{}`,
		`1`, `0`, `-1`, `12`, `012`, `1e3`, `1.0`, `123456789012345678`, `1234567890123456789`, `12345678901234567890`, `1 `, ` 1`, ` "a"`,
	} {
		for _, into := range []func() any{
			func() any { return new(string) }, func() any { return new(digest.Digest) }, func() any { return new(int64) }, func() any { return new(bool) },
		} {
			got, want := into(), into()
			if !decodePlain([]byte(value), got) {
				continue
			}
			plain++
			if err := json.Unmarshal([]byte(value), want); err != nil {
				t.Errorf("%s is read, and is %v", value, err)
			}
			a, errA := json.Marshal(got)
			b, errB := json.Marshal(want)
			if errA != nil || errB != nil || string(a) != string(b) {
				t.Errorf("%s: got %s, want %s (%v, %v)", value, a, b, errA, errB)
			}
		}
	}
	if want := 4*2 + 3; plain != want {
		t.Errorf("%d values are plain, want %d", plain, want)
	}
}
