package progress

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ocicache/ocicache/layout"
)

// Mode is a way of showing progress.
type Mode string

// The modes. Auto is Bars on a terminal, else Plain.
const (
	Auto  Mode = "auto"
	Plain Mode = "plain"
	JSON  Mode = "json"
	None  Mode = "none"
	Bars  Mode = "bars"
	// Trace is Plain with a line for every blob.
	Trace Mode = "trace"
)

// quiet is how long nothing is shown at first.
const quiet = time.Second

// Modes returns the modes that the command line accepts.
func Modes() []Mode { return []Mode{Auto, Plain, JSON, None} }

// Parse reads a mode as the command line spells it.
func Parse(name string) (Mode, error) {
	if m := Mode(name); slices.Contains(Modes(), m) {
		return m, nil
	}
	return "", fmt.Errorf("unknown progress %q (want auto, plain, json or none)", name)
}

// New returns a handler that shows events on w, and a function that ends this; nothing is written after it.
func New(mode Mode, w io.Writer) (layout.Handler, func()) {
	switch mode {
	case Bars:
		return newBars(w)
	case JSON:
		return newJSON(w)
	case None:
		return nil, func() {}
	default:
		return newText(w, mode == Trace)
	}
}
