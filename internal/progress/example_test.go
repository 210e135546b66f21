package progress_test

import (
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/progress"
)

// Work reports to the handler, which writes one object a line.
func Example() {
	handler, stop := progress.New(progress.JSON, os.Stdout)
	defer stop()
	err := handler.Track("copy", digest.FromString("a layer"), 7, func(done func(int64)) error {
		done(7)
		return nil
	})
	if err != nil {
		return
	}
	// Output:
	// {"event":"start","verb":"copy","digest":"sha256:e28d98ac666afd34f089b971a663264d54d67a60ddc82996d48d8f3c204eb75f","bytes":7}
	// {"event":"done","verb":"copy","digest":"sha256:e28d98ac666afd34f089b971a663264d54d67a60ddc82996d48d8f3c204eb75f"}
}
