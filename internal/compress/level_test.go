package compress_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/quicktest"
)

// TestLevel says that a level which is taken for the default gives its bytes.
func TestLevel(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for n := range quicktest.Rounds(10_000, 40_000) {
		fmt.Fprintf(&text, "line %d of %x\n", n, n*n*7919)
	}
	encoded := func(c buildcache.Compression, level int) []byte {
		var out bytes.Buffer
		if _, err := compress.Encode(&out, strings.NewReader(text.String()), c, level); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for _, c := range []buildcache.Compression{buildcache.Gzip, buildcache.Zstd} {
		defaults, unnamed := 0, encoded(c, 0)
		for level := 1; level <= 9; level++ {
			same := bytes.Equal(encoded(c, level), unnamed)
			if isDefault := compress.Level(c, level) == 0; isDefault != same {
				t.Errorf("%s, level %d: the default %t, the same bytes %t", c, level, isDefault, same)
			} else if same {
				defaults++
			}
		}
		if defaults == 0 {
			t.Errorf("no level of %s is the default", c)
		}
	}
}
