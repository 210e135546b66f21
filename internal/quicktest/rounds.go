package quicktest

import "os"

// wholeVariable has loops over samples run whole; make test sets it.
const wholeVariable = "OCICACHE_TEST_WHOLE"

// Rounds says how many samples a test draws that could draw any number: a few, so that everybody runs the tests, and all of
// them where somebody asked for it.
func Rounds(few, all int) int {
	if os.Getenv(wholeVariable) != "" {
		return all
	}
	return few
}
