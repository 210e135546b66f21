// Command ocicache makes BuildKit cache exports usable anywhere: it converts, recompresses, packs, inspects and verifies
// them with no daemon and no network, and copies them to and from registries.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/parallel"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// grace is how long a command may take to end after a signal. After that the program exits as if killed, because some
// system calls may wait forever, such as for the other end of a pipe.
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

	// When nobody reads the output any more, writing fails, and what was begun is cleaned up as after any other failure.
	// The signal would end the program without that. It is caught rather than ignored, because children inherit ignored signals.
	// A closing terminal hangs up twice, from its shell and from the kernel: the second is not a second signal from a user.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, append(hangup(), syscall.SIGPIPE)...)
	defer signal.Stop(caught)

	return a.run(ctx, args)
}

// interruptions returns the signals that end a command in an orderly way.
func interruptions() []os.Signal { return append(hangup(), os.Interrupt, syscall.SIGTERM) }

// hangup returns the signal of a closing terminal. If it is ignored, as under nohup, it stays ignored.
func hangup() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return nil
	}
	return []os.Signal{syscall.SIGHUP}
}

// run runs the program until it is done or the context is cancelled by an interruption. It returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	a.begun = time.Now()
	a.args = args
	root := a.command() //nolint:contextcheck // cobra hands the context to the commands
	root.SetArgs(args)
	err := parallel.Guard(func() error { return root.ExecuteContext(durable.WithWaiting(ctx, a.noteWaiting)) })
	if a.help.err != nil {
		err = &outputError{a.help.err} // if err is set, it is the same error
	}
	err = errors.Join(err, a.close())
	err = errors.Join(err, a.unmake(ctx, err))
	a.sayEnd(err)
	return a.exit(ctx, err)
}

// giveUp ends the program. It first ends the progress display and says what happened, if standard error accepts that in time.
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
