package convert_test

import (
	"errors"
	"testing"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// TestSurplusCheck says how many tags of those that were there may go.
func TestSurplusCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		gone, before, most int
		allowed            bool
	}{
		{0, 0, convert.HalfAtMost, true},
		{1, 2, convert.HalfAtMost, true},
		{1, 1, convert.HalfAtMost, false},
		{2, 3, convert.HalfAtMost, false},
		{5, 10, convert.HalfAtMost, true},
		{6, 10, convert.HalfAtMost, false},
		{6, 10, 6, true},
		{6, 10, 5, false},
		{1, 10, 0, false},
		{0, 10, 0, true},
	} {
		s := &convert.Surplus{Entries: make([]layout.Entry, test.gone), Before: test.before}
		err := s.Check(test.most)
		var refused *convert.SurplusError
		if (err == nil) != test.allowed || err != nil && !errors.As(err, &refused) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}
