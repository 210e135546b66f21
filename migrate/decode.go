package migrate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ocicache/ocicache/internal/meant"
)

// decoder reads a plan from the nodes of a document, which know their lines and columns, and collects what is wrong.
type decoder struct {
	name     string // of the file
	problems []Problem
	read     int // values
}

const (
	// maxRead bounds how many values are read, as aliases turn few into many. Items of lists (sources, expressions) count as costOfItem.
	maxRead    = 2_000_000
	costOfItem = 10
	// maxProblems bounds how many problems are listed.
	maxProblems = 100
)

// reads reports whether one more value may be read. It adds a problem for the first one that may not.
func (d *decoder) reads(n *yaml.Node, cost int) bool {
	before := d.read
	d.read += cost
	if before < maxRead && d.read >= maxRead {
		d.problems = d.problems[:min(len(d.problems), maxProblems-1)]
		d.say(n, "here it has become too large: lists and aliases stand for more than %d values", maxRead/costOfItem)
	}
	return d.read < maxRead
}

func (d *decoder) say(at *yaml.Node, format string, args ...any) {
	if len(d.problems) >= maxProblems {
		return
	}
	d.problems = append(d.problems, Problem{Line: at.Line, Column: at.Column, Text: fmt.Sprintf(format, args...)})
}

// lineOfError finds the line in an error of the YAML library, which gives it in no other way.
var lineOfError = regexp.MustCompile(`^yaml: line (\d+): `)

// unreadable adds the problem that something is not YAML.
func (d *decoder) unreadable(err error) {
	p := Problem{Text: strings.TrimPrefix(err.Error(), "yaml: ")}
	if match := lineOfError.FindStringSubmatch(err.Error()); match != nil {
		p.Line, _ = strconv.Atoi(match[1]) // it is a number
		p.Column, p.Text = 1, strings.TrimPrefix(err.Error(), match[0])
	}
	p.Text = "this is no YAML: " + p.Text
	d.problems = append(d.problems, p)
}

// target returns what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// keys are the functions that read the values of a mapping's keys.
type keys map[string]func(*yaml.Node)

// mapping reads a mapping, and adds a problem for each unknown or repeated key. It returns the nodes of the keys.
func (d *decoder) mapping(n *yaml.Node, what string, known keys) map[string]*yaml.Node {
	at := map[string]*yaml.Node{}
	d.pairs(n, what, func(key, value *yaml.Node) {
		read, ok := known[key.Value]
		if !ok {
			words := slices.Sorted(maps.Keys(known))
			d.say(key, "unknown key %q in %s; there are %s%s", key.Value, what, strings.Join(words, ", "), asked(key.Value, words))
			return
		}
		at[key.Value] = key
		read(value)
	})
	return at
}

// pairs passes each pair of a mapping to take.
func (d *decoder) pairs(n *yaml.Node, what string, take func(key, value *yaml.Node)) {
	n = target(n)
	if n.Kind != yaml.MappingNode {
		d.say(n, "%s is %s; want keys and values", what, kindOf(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !d.reads(key, 1) {
			return
		}
		switch {
		case target(key).Kind != yaml.ScalarNode || key.Kind == yaml.AliasNode:
			d.say(key, "a key of %s is %s; want a word", what, kindOf(key))
		case seen[key.Value]:
			d.say(key, "the key %q is there twice in %s", key.Value, what)
		default:
			seen[key.Value] = true
			take(key, value)
		}
	}
}

// asked asks whether a similar word was meant, as an addition to another message, or returns "".
func asked(typed string, words []string) string {
	if text := meant.Ask(meant.Of(typed, words)); text != "" {
		return "; " + text
	}
	return ""
}

// kindOf says what a node is, for a message.
func kindOf(n *yaml.Node) string {
	switch target(n).Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if target(n).ShortTag() == "!!null" {
			return "nothing"
		}
		return fmt.Sprintf("%q", target(n).Value)
	default:
		return "an alias"
	}
}

// text reads a word. A tag that looks like a number or a date is a word, too.
func (d *decoder) text(what string, into func(*yaml.Node, string)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if value := target(n); value.Kind != yaml.ScalarNode || value.ShortTag() == "!!null" || value.Value == "" {
			d.say(n, "%s is %s; want a word", what, kindOf(n))
		} else {
			into(n, value.Value)
		}
	}
}

// texts reads a list of words, or a single one.
func (d *decoder) texts(what string, into func(*yaml.Node, string)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		list := target(n)
		if list.Kind != yaml.SequenceNode {
			d.text(what, into)(n)
			return
		}
		if len(list.Content) == 0 {
			d.say(n, "%s is an empty list", what)
		}
		for _, item := range list.Content {
			if !d.reads(item, costOfItem) {
				return
			}
			d.text(what, into)(item)
		}
	}
}

// whole reads a number from 0 to most.
func (d *decoder) whole(what string, most int, into *int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		value, err := strconv.Atoi(target(n).Value)
		if target(n).Kind != yaml.ScalarNode || err != nil || value < 0 || value > most {
			d.say(n, "%s is %s; want a whole number from 0 to %d", what, kindOf(n), most)
			return
		}
		*into = value
	}
}

// truth reads true or false.
func (d *decoder) truth(what string, into *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if value := target(n); value.ShortTag() != "!!bool" || value.Decode(into) != nil {
			d.say(n, "%s is %s; want true or false", what, kindOf(n))
		}
	}
}

// maxTransfers is the most blobs at once that a plan may allow for a registry.
const maxTransfers = 1024

// keep is the word for what a migration leaves as it is, whatever the defaults say.
const keep = "keep"
