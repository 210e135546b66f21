package inspect_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/inspect"
)

// dotLine matches what a line of a graph can be: strings end where they should, and have nothing that is no text.
var dotLine = regexp.MustCompile(`^(?://.*|digraph caches \{|node \[.*\];|edge \[.*\];|subgraph cluster_\d+ \{|label="(?:[^"\\]|\\[\\"n])*";|\}` +
	`|c\d+[rl]\d+(?: -> c\d+[rl]\d+)? \[(?:(?:shape=\w+|style=dashed|color=gray|label="(?:[^"\\]|\\[\\"n])*") ?)+\];)$`)

func dot(t *testing.T, caches ...inspect.Detailed) string {
	t.Helper()
	var out bytes.Buffer
	if err := inspect.WriteDOT(&out, `a "place"\`, caches); err != nil {
		t.Fatal(err)
	}
	if !inspect.IsDOT(out.Bytes()) {
		t.Error("it is not known as one of ours")
	}
	for line := range strings.Lines(out.String()) {
		if !dotLine.MatchString(strings.TrimSpace(line)) {
			t.Errorf("what is this? %s", line)
		}
	}
	return out.String()
}

// TestDOT counts what a graph has.
func TestDOT(t *testing.T) {
	t.Parallel()
	graph := dot(t, detailed(large(10)), detailed(large(1)))
	for what, want := range map[string]int{"shape=box": 11, "shape=ellipse": 11, "style=dashed": 11, "color=gray": 9, "subgraph": 2} {
		if got := strings.Count(graph, what); got != want {
			t.Errorf("%d × %s, want %d", got, what, want)
		}
	}
	if got := strings.Count(dot(t), "subgraph"); got != 0 {
		t.Errorf("a graph of nothing has %d", got)
	}
}

// TestHostileDOT has text that ends strings, escapes, entities and control characters.
func TestHostileDOT(t *testing.T) {
	t.Parallel()
	for _, text := range append(injections, `"]; evil [label="`, `\`, `\N\G\"`, "a\nb\r\x1b[2J", "&quot;", "/* */ // #") {
		graph := dot(t, hostile(text))
		if want := strings.Count(dot(t, hostile("harmless")), "\n"); strings.Count(graph, "\n") != want {
			t.Errorf("%q: %d lines, want %d", text, strings.Count(graph, "\n"), want)
		}
		if strings.Contains(graph, "\x1b") || strings.Contains(graph, "&quot;") {
			t.Errorf("%q: it is as it was", text)
		}
	}
}
