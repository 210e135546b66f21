package provenance_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// FuzzParse says that no bytes harm who reads provenance, and that the inputs of a step come before it.
func FuzzParse(f *testing.F) {
	dir := explaintest.Unpack(f, "forms/", "builds/8-llb/history-predicate.json", "why-variants/27-no-cache-filter/provenance.json")
	for _, name := range []string{
		"forms/why.dockerbuild", "forms/why.llb", "forms/why.buildx-metadata-max.json", "forms/1-basic.slsa-v0.2.statement.json",
		"builds/8-llb/history-predicate.json", "why-variants/27-no-cache-filter/provenance.json",
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		builds, err := provenance.Parse(data)
		if err == nil && len(builds) == 0 {
			t.Error("neither a build nor an error")
		}
		for _, b := range builds {
			for i, s := range b.Steps {
				b.Text(i)
				b.Pin(i)
				b.StageOf(i)
				for _, input := range s.Inputs {
					if input.Step < 0 || input.Step >= i || input.Output < 0 {
						t.Errorf("step %d has input %+v", i, input)
					}
				}
			}
		}
	})
}
