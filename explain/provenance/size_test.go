package provenance_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain/provenance"
)

// ofLines returns provenance of steps that are all from one instruction, which is all of a Dockerfile.
func ofLines(t *testing.T, dockerfile string, steps int) *provenance.Build {
	t.Helper()
	var ops, at []string
	for i := range steps {
		ops = append(ops, fmt.Sprintf(`{"id":"step%d","op":{"Op":{"source":{"identifier":"docker-image://base"}}}}`, i))
		at = append(at, fmt.Sprintf(`"step%d":{"locations":[{"ranges":[{"start":{"line":1},"end":{"line":%d}}]}]}`, i, strings.Count(dockerfile, "\n")+1))
	}
	text := fmt.Sprintf(`{"buildDefinition":{"internalParameters":{"buildConfig":{"llbDefinition":[%s]}}},"runDetails":{"metadata":{"buildkit_metadata":`+
		`{"source":{"locations":{%s},"infos":[{"filename":"Dockerfile","data":%q}]}}}}}`,
		strings.Join(ops, ","), strings.Join(at, ","), base64.StdEncoding.EncodeToString([]byte(dockerfile)))
	builds, err := provenance.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return builds[0]
}

// TestManyLines says that an instruction of very many lines takes no time, however many steps are from it, and is cut between lines.
// When each line was joined to all before it that took hours, for which go test has no time.
func TestManyLines(t *testing.T) {
	t.Parallel()
	b := ofLines(t, "FROM a AS b\nARG X \\\n"+strings.Repeat("ab=1 \\\n", 500000)+" last", 1000)
	if arg, _ := b.Declares("last"); !arg {
		t.Error("the last of many lines is not read")
	}
	for i := range b.Steps {
		text := b.Text(i)
		if len(text) > 17<<10 || !strings.HasPrefix(text, "FROM a AS b\nARG X") || !strings.HasSuffix(text, "ab=1 \\\n…") {
			t.Fatalf("%d bytes of text: %.100q", len(text), text)
		}
	}
}

// TestLongLine says that no part is shown of a line that is too long.
func TestLongLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<15)
	for dockerfile, want := range map[string]string{
		"RUN https://me:secret" + long + "@host": "RUN …",
		"RUN a \\\n" + long:                      "RUN a \\\n…",
		long:                                     "xxxxxxxxxxx …",
		"RUN a \\\n b":                           "RUN a \\\n b",
	} {
		if got := ofLines(t, dockerfile, 1).Text(0); got != want {
			t.Errorf("%.40q is %.60q, want %q", dockerfile, got, want)
		}
	}
}
