package explain_test

import (
	"encoding/base64"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

func titlesOf(b *provenance.Build) []string {
	var all []string
	for i := range b.Steps {
		all = append(all, explain.Title(b, i))
	}
	return all
}

// TestTitles names a heredoc by its first line, and an image by what the variable was.
func TestTitles(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/")
	heredocs := titlesOf(buildsOf(t, filepath.Join(dir, "builds/4-args/provenance.json"))[0])
	for _, want := range []string{
		"RUN <<EOF echo version $VERSION > /v", "RUN <<'A' cat > /two && echo done literal $VERSION", `COPY <<CONF <<"RAW" /etc/app/ value=$V`, "WORKDIR sub",
	} {
		if !slices.Contains(heredocs, want) {
			t.Errorf("no %q in %q", want, heredocs)
		}
	}

	why := filepath.Join(dir, "builds/why/provenance.json")
	file := string(buildsOf(t, why)[0].Files[0].Data)
	withVariable := strings.Replace(file, "FROM 127.0.0.1:5957/lab/moving:1 AS", "FROM --platform=$P ${BASE} AS", 1)
	b := rewritten(t, why, encoded(file), encoded(withVariable))
	if got, want := explain.Title(b, 0), "FROM --platform=$P 127.0.0.1:5957/lab/moving:1 AS build"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
