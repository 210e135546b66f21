package convert_test

import (
	"testing"

	"github.com/ocicache/ocicache/convert"
)

// FuzzParseSize reads any text as a size. What is taken is one that a volume can have.
func FuzzParseSize(f *testing.F) {
	for _, text := range []string{"", "4GB", "650MiB", "1000000", "1.5 kb", "0", "-1", "1e30", "99999999999PB", "1,000", "NaN", "9223372036854775807"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if size, err := convert.ParseSize(text); err == nil && size < 1 || err != nil && size != 0 {
			t.Errorf("%q: %d, %v", text, size, err)
		}
	})
}
