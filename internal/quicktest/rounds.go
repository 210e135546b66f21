package quicktest

import "os"

// wholeVariable makes loops over samples take all of them; make test sets it.
const wholeVariable = "OCICACHE_TEST_WHOLE"

// Rounds returns how many samples a test draws that could draw any number: a few, so that everybody runs the tests, or all if
// somebody asked for it.
func Rounds(few, all int) int {
	if os.Getenv(wholeVariable) != "" {
		return all
	}
	return few
}
