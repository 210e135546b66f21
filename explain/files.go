package explain

import (
	"errors"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/llb"
)

// Contexts are the directories that a build copies from, by name. The build
// context is called "context". "dockerfile" is the directory of the Dockerfile,
// if that is elsewhere.
type Contexts map[string]string

// mainContext is the name of the build context.
const mainContext = "context"

// localTrees loads the files of local sources.
type localTrees struct {
	contexts Contexts
	known    map[int]localTree // by step
}

type localTree struct {
	tree *contenthash.Tree
	err  error
}

// errNoContext says that a directory was not given.
var errNoContext = errors.New("the directory was not given")

func (l *localTrees) tree(step int, source *llb.SourceOp) (*contenthash.Tree, error) {
	if known, ok := l.known[step]; ok {
		return known.tree, known.err
	}
	tree, err := l.load(source)
	l.known[step] = localTree{tree, err}
	return tree, err
}

func (l *localTrees) load(source *llb.SourceOp) (*contenthash.Tree, error) {
	_, name := source.Scheme()
	dir, ok := l.contexts[name]
	if !ok {
		return nil, errNoContext
	}
	var filter contenthash.Filter
	var err error
	if filter.Exclude, err = source.Patterns(excludePatterns); err != nil {
		return nil, err
	}
	if filter.Include, err = source.Patterns(includePatterns); err != nil {
		return nil, err
	}
	return contenthash.FromDir(dir, filter)
}
