package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
)

// TestRepairAlike shows many findings of one kind in few lines, with how many there are, and a few in full.
func TestRepairAlike(t *testing.T) {
	t.Parallel()
	render := func(n int) string {
		done := &convert.RepairResult{Tag: "latest", Repairs: []convert.Repair{{Kind: "blob-size", What: "the size is corrected"}}}
		for i := range n {
			blob := digest.FromString(fmt.Sprint(i))
			done.Repairs = append(done.Repairs, convert.Repair{Kind: "blob-missing", Digest: blob, What: "it is dropped"})
			done.Left = append(done.Left, buildcache.NewProblem(buildcache.BlobDamaged, fmt.Sprintf("root.layers[%d]", i), "it is empty").On(blob))
		}
		var out strings.Builder
		if err := (repairResult{Path: "c", Caches: []*convert.RepairResult{done}}).render(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	many := render(240)
	for _, want := range []string{
		"  blob-size: the size is corrected\n",
		"  blob-missing, 240 times: it is dropped\n    blob: " + digest.FromString("0").String() + "\n",
		"  can't be repaired: blob-damaged: root.layers[2]: it is empty\n    and 237 more of this kind; --json lists each of them\n",
	} {
		if strings.Count(many, want) != 1 {
			t.Errorf("not once: %q in\n%s", want, many)
		}
	}
	if lines := strings.Count(many, "\n"); lines > 11 {
		t.Errorf("%d lines:\n%s", lines, many)
	}
	few := render(3)
	if strings.Count(few, "  blob-missing: it is dropped\n") != 3 || strings.Contains(few, "more") {
		t.Errorf("a few are not all shown:\n%s", few)
	}
}
