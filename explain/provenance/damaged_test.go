package provenance_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// TestCutHistory says that an exported history without its end is refused, be it one byte.
func TestCutHistory(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(explaintest.Unpack(t, "forms/why.dockerbuild"), "forms/why.dockerbuild"))
	if err != nil {
		t.Fatal(err)
	}
	for _, less := range []int{0, 1, 8, 9} {
		if _, err := provenance.Parse(data[:len(data)-less]); (err != nil) != (less > 0) {
			t.Errorf("without %d bytes: %v", less, err)
		}
	}
}

// TestLines says that lines which the Dockerfile of the same provenance does not have are no lines.
func TestLines(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(explaintest.Unpack(t, "builds/why/prov"), "builds/why/provenance.json"))
	if err != nil {
		t.Fatal(err)
	}
	line := func(file, start, end int) string {
		return fmt.Sprintf(`{"locations":[{"sourceIndex":%d,"ranges":[{"start":{"line":%d},"end":{"line":%d}}]}]}`, file, start, end)
	}
	lines := fmt.Sprintf(`"locations":{"step3":%s,"step4":%s,"step5":%s,"step6":%s,"step7":%s},"was":`,
		line(0, 5, 2_000_000_000), line(0, 2_000_000_000, 1), line(7, 1, 1), line(-1, 1, 1), line(0, 5, 6))
	if n := bytes.Count(data, []byte(`"locations":{`)) + bytes.Count(data, []byte(`"locations": {`)); n != 1 {
		t.Fatalf("%d lists of lines, want one", n)
	}
	data = regexp.MustCompile(`"locations": ?\{`).ReplaceAll(data, []byte(lines+"{"))
	builds, err := provenance.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range builds[0].Steps {
		_, known := builds[0].Where(i)
		switch s.ID {
		case "step3", "step4", "step5", "step6":
			if known {
				t.Errorf("%s has lines: %v", s.ID, s.At)
			}
		case "step7":
			if !known {
				t.Errorf("%s has no lines", s.ID)
			}
		}
	}
}
