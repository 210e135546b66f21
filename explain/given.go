package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/explain/provenance"
)

// unknownContexts warns of given directories, by name, that no build takes files from. The build context and the
// Dockerfile's directory may be given to any build.
func unknownContexts(builds []*provenance.Build, given Contexts) []string {
	all := missingContexts(builds, Contexts{})
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if name == mainContext || name == "dockerfile" || slices.Contains(all, name) {
			continue
		}
		text := fmt.Sprintf("the build takes no files of a context that is called %s", name)
		if len(all) > 0 {
			text += ": its own are " + strings.Join(all, ", ")
		}
		warnings = append(warnings, text)
	}
	return warnings
}

// goneWarnings warns that BuildKit does not skip a missing layer.
func (r *Report) goneWarnings() []string {
	if !slices.ContainsFunc(r.Steps, func(s StepReport) bool { return s.Cause != nil && s.Cause.Kind == CauseLayer }) {
		return nil
	}
	r.Verify = VerifyLayers
	return []string{"layers of results are missing, or not of their size: a build with this cache fails where it needs them, and does not run the step instead. " +
		"The bytes of the others were not checked"}
}
