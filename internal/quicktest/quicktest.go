// Package quicktest has tests take less time.
package quicktest

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
)

// variable says where temporary files are.
const variable = "TMPDIR"

// Most of what a test allocates are buffers that live no longer than it.
const (
	garbage  = 400     // how much of it there may be, in percent of what is in use,
	together = 4 << 30 // as long as both are not more bytes than this
)

// Tests are the tests of a package.
type Tests struct {
	m *testing.M
}

// Of is for a TestMain. It has the tests of a package, and the processes that they start, keep temporary files in memory: most
// of what they would wait for are the syncs that each blob gets, in directories that are thrown away. Where TMPDIR says where
// such files are to be, or memory has too little room, they are where they always are. And it has the tests collect garbage
// less often, unless GOGC says how often, and run two at once on each processor, as many of them wait, unless -parallel says how many.
func Of(m *testing.M) Tests { return Tests{m} }

// Run runs the tests.
func (t Tests) Run() int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
		debug.SetMemoryLimit(together)
	}
	if dir := memory(); dir != "" && os.Getenv(variable) == "" {
		if err := os.Setenv(variable, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if err := inParallel(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return t.m.Run()
}

// inParallel has more tests run at once than there are processors, if nobody said how many.
func inParallel() error {
	const name = "test.parallel"
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == name })
	if said {
		return nil
	}
	return flag.Set(name, strconv.Itoa(2*runtime.GOMAXPROCS(0)))
}
