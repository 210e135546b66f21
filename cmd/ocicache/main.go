// Command ocicache makes BuildKit cache exports usable anywhere: it converts, recompresses, packs, inspects and verifies
// them with no daemon and no network, and brings them to and from registries.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ocicache/ocicache/internal/parallel"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	app := &app{stdout: stdout, stderr: stderr}
	root := app.command()
	root.SetArgs(args)
	err := parallel.Guard(func() error { return root.ExecuteContext(ctx) })
	return app.exit(ctx, errors.Join(err, app.close()))
}
