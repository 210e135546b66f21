//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// timings collects how long the daemons took, for the list at the end.
var timings stopwatch

type stopwatch struct {
	mu    sync.Mutex
	lines []string
	total map[string]time.Duration
	count map[string]int
}

func (s *stopwatch) add(what, name string, steps []step, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total == nil {
		s.total, s.count = map[string]time.Duration{}, map[string]int{}
	}
	s.total[what] += took
	s.count[what]++
	s.lines = append(s.lines, fmt.Sprintf("%s %6.2fs %3d/%-3d cached  %s",
		what, took.Seconds(), countCached(steps), len(steps), name))
}

// String lists the times, and their mean for each kind.
func (s *stopwatch) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, line := range s.lines {
		b.WriteString(line + "\n")
	}
	for _, what := range slices.Sorted(maps.Keys(s.count)) {
		mean := s.total[what] / time.Duration(s.count[what])
		fmt.Fprintf(&b, "%d %ss, %.2fs each on average\n", s.count[what], what, mean.Seconds())
	}
	return b.String()
}
