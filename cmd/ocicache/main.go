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
	"time"

	"github.com/ocicache/ocicache/internal/parallel"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// grace is how long a command may take to end after a signal. Then it is ended, as by a kill: what some calls of the system
// wait for may never come, such as somebody at the other end of a pipe.
const grace = 800 * time.Millisecond

// run is the whole program. It returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	ctx, stop := signal.NotifyContext(context.Background(), interruptions()...)
	defer stop()
	ended := make(chan struct{})
	defer close(ended)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the program at once
		select {
		case <-ended:
		case <-time.After(grace):
			a.giveUp()
		}
	})

	// Where nobody reads the output any more, writing fails, and what was begun is cleared away like after any other failure.
	// The signal would end the program with all of it left. It is caught, not ignored, as children inherit that.
	// A terminal that closes hangs up twice, by its shell and by the kernel: the second one is no second signal of somebody's.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, append(hangup(), syscall.SIGPIPE)...)
	defer signal.Stop(caught)

	return a.run(ctx, args)
}

// interruptions are the signals that a command ends by as it should.
func interruptions() []os.Signal { return append(hangup(), os.Interrupt, syscall.SIGTERM) }

// hangup is the signal of a terminal that closes. Where it is ignored, as behind nohup, it stays ignored.
func hangup() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return nil
	}
	return []os.Signal{syscall.SIGHUP}
}

// run is the program for a context that ends when it is interrupted. It returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	a.begun = time.Now()
	a.args = args
	root := a.command() //nolint:contextcheck // cobra hands the context to the commands
	root.SetArgs(args)
	err := parallel.Guard(func() error { return root.ExecuteContext(ctx) })
	if a.help.err != nil {
		err = &outputError{a.help.err} // which is what err is, if it is anything
	}
	err = errors.Join(err, a.close())
	err = errors.Join(err, a.unmake(ctx, err))
	a.sayEnd(err)
	return a.exit(ctx, err)
}

// giveUp ends the program. That is said if standard error takes it, without what progress showed last.
func (a *app) giveUp() {
	said := make(chan struct{})
	go func() {
		if shown := a.shown.Load(); shown != nil {
			shown.stop()
		}
		a.sayInterrupted()
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(grace / 8):
	}
	os.Exit(exitInterrupted)
}
