package inspect

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/webpage"
)

// dotMark begins every graph that we write.
const dotMark = "// ocicache inspect: records (boxes) with their inputs, and the layers of their results\n"

// IsDOT reports whether a file that begins with head is a graph that WriteDOT wrote.
func IsDOT(head []byte) bool { return bytes.HasPrefix(head, []byte(dotMark)) }

// WriteDOT writes the records and layers of caches as a graph in Graphviz's language. Each cache is labelled with place and its tag.
func WriteDOT(w io.Writer, place string, caches []Detailed) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%sdigraph caches {\n  node [fontname=monospace fontsize=10];\n  edge [fontname=monospace fontsize=8];\n", dotMark)
	for i, d := range caches {
		name := place
		if d.Tag != "" {
			name += ", tag " + d.Tag
		}
		fmt.Fprintf(out, "  subgraph cluster_%d {\n    label=%s;\n", i, quoteDOT(name))
		writeCache(out, fmt.Sprintf("c%d", i), newGraph(d))
		fmt.Fprintf(out, "  }\n")
	}
	fmt.Fprintf(out, "}\n")
	return out.Flush()
}

// writeCache writes a cache, whose node names begin with id.
func writeCache(w io.Writer, id string, g *graph) {
	for i, layer := range g.Layers {
		state, _ := layer.state()
		label := strings.TrimSpace(webpage.Short(layer.Digest) + "\n" + webpage.Bytes(layer.Size) + " " + state)
		fmt.Fprintf(w, "    %sl%d [shape=ellipse label=%s];\n", id, i, quoteDOT(label))
		if layer.Index >= 0 && g.parents[i] != buildcache.NoParent {
			fmt.Fprintf(w, "    %sl%d -> %sl%d [color=gray];\n", id, g.parents[i], id, i)
		}
	}
	for _, n := range g.nodes(len(g.Config.Records)) {
		label := strings.TrimSpace(n.Name.String() + "\n" + webpage.Short(n.Digest) + "\n" + resultsText(n))
		fmt.Fprintf(w, "    %sr%d [shape=box label=%s];\n", id, n.Index, quoteDOT(label))
		writeLinks(w, id, g, n.Index)
	}
}

// writeLinks writes the links to a record, and those from it to the layers that its results end in.
func writeLinks(w io.Writer, id string, g *graph, record int) {
	for at, alternatives := range g.Config.Records[record].Inputs {
		for _, input := range alternatives {
			if input.Link < 0 || input.Link >= len(g.inputs) {
				continue
			}
			label := fmt.Sprint(at)
			if input.Selector != "" {
				label += " " + input.Selector
			}
			fmt.Fprintf(w, "    %sr%d -> %sr%d [label=%s];\n", id, input.Link, id, record, quoteDOT(label))
		}
	}
	for _, layer := range tops(g.Config.Records[record]) {
		if layer >= 0 && layer < len(g.parents) {
			fmt.Fprintf(w, "    %sr%d -> %sl%d [style=dashed];\n", id, record, id, layer)
		}
	}
}

// tops returns the layers that the results of a record end in. Of a chain, whose layers need no parents, it returns all.
func tops(record buildcache.Record) []int {
	var layers []int
	for _, r := range record.Results {
		layers = append(layers, r.Layer)
	}
	for _, chain := range record.Chains {
		layers = append(layers, chain.Layers...)
	}
	return layers
}

// dotEscapes escapes what Graphviz does not take as plain text in a string, which includes HTML entities.
var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "&", "&amp;")

// quoteDOT returns text as a Graphviz string that shows exactly that text.
func quoteDOT(text string) string {
	printable := strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	return `"` + dotEscapes.Replace(printable) + `"`
}
