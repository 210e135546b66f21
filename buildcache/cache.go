package buildcache

import "fmt"

// Cache is a cache as a value: its root and its cache config.
type Cache struct {
	Root   *Root
	Config *Config
}

// RefusedError says that a cache can't be worked on, because BuildKit would reject it as a whole or could not use one of its
// layers.
type RefusedError struct {
	Cache    int       // its index among the arguments
	Problems []Problem // errors only
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("cache %d is damaged: %s", e.Cache+1, summarize(e.Problems))
}

// summarize returns the first problem, and how many more there are.
func summarize(problems []Problem) string {
	first := problems[0]
	text := fmt.Sprintf("%s: %s (%s)", first.Where, first.Detail, first.Kind)
	if more := len(problems) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}
