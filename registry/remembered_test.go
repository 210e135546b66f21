package registry

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestRemembered reads many manifests: the newest are remembered, within the bound.
func TestRemembered(t *testing.T) {
	t.Parallel()
	var m remembered
	const each = 1 << 20
	name := func(i int) digest.Digest { return digest.FromString(fmt.Sprint(i)) }
	for i := range 100 {
		m.add(name(i), make([]byte, each))
		m.add(name(i), make([]byte, each)) // once more is no more
		if i%10 == 0 {
			m.forget(name(i))
		}
	}
	if want := maxRemembered / each; m.bytes != len(m.raw)*each || len(m.raw) > want || len(m.raw) < want-2 {
		t.Errorf("%d manifests of %d bytes, want about %d", len(m.raw), m.bytes, want)
	}
	if m.raw[name(99)] == nil || m.raw[name(90)] != nil || m.raw[name(1)] != nil {
		t.Error("others than the newest are remembered, or what was forgotten is")
	}
}
