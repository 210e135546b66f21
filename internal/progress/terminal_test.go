package progress_test

import (
	"io"
	"os"
	"testing"
)

// terminal is a pseudo-terminal: bars are drawn on nothing else.
type terminal struct {
	*os.File
	shown chan string
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	master, slave := openPTY(t)
	term := &terminal{File: slave, shown: make(chan string, 1)}
	go func() {
		shown, _ := io.ReadAll(master) // ends with an error, when the other side is closed
		term.shown <- string(shown)
	}()
	return term
}

// end closes the terminal and returns everything that was written to it.
func (t *terminal) end() string {
	_ = t.Close()
	return <-t.shown
}
