// Package quicktest makes tests take less time.
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

// Most of what a test allocates is buffers that live no longer than the test.
const (
	garbage  = 400     // how much garbage there may be, in percent of the memory in use,
	together = 4 << 30 // as long as both together have no more bytes than this
)

// Tests are the tests of a package.
type Tests struct {
	m *testing.M
}

// Of is for a TestMain. Its Run has the tests of a package, and the processes that they start, keep temporary files in memory:
// otherwise they mostly wait for the syncs of blobs, in directories that are thrown away. If TMPDIR says where such files go, or
// memory has too little room, they go where they always do. It also has the tests collect garbage less often, unless GOGC says how
// often, and run two at once per processor, as many of them wait, unless -parallel says how many.
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

// inParallel lets more tests run at once than there are processors, unless -parallel says how many.
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
