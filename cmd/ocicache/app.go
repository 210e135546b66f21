package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/ocicache/ocicache/internal/progress"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// app is what all commands share: where they write to, and their common flags.
type app struct {
	stdout, stderr io.Writer

	json        bool
	progress    string
	jobs        int
	lockTimeout time.Duration
	debug       bool

	help    keeper         // standard output for cobra, which drops its errors
	running *cobra.Command // the command being run, nil until the command line has been read
	args    []string       // the command line
	link    bool           // set by the commands that have --link
	hosts   registry.Hosts // what is known of registries, on either side
	// opens wraps each place that is opened, so that tests can make it fail; nil wraps none.
	opens   func(layout.Source) layout.Source
	made    []*layout.Dir                 // directories that may have been made for nothing
	closers []io.Closer                   // closed at the end
	inputs  []string                      // files that are read in addition to places
	shown   atomic.Pointer[progressShown] // current progress display
	planned atomic.Bool                   // there was work on blobs
	waited  sync.Map                      // the paths of locks that were said to be waited for
	begun   time.Time
	effort  effort // what the command read, wrote and sent
}

func (a *app) command() *cobra.Command {
	a.help.Writer = a.stdout
	root := &cobra.Command{
		Use:   "ocicache",
		Short: "Make BuildKit cache exports usable anywhere",
		Long: fmt.Sprintf(`ocicache converts BuildKit cache exports (--cache-to type=local) between their manifest forms, recompresses their
layers, copies and syncs them to and from registries, packs them into archives that cross an air gap, and inspects and
verifies them. BuildKit still hits every cache that it writes.

A reference names a place: a bare path (a directory is a layout, a file is an archive),
%s.
One with a prefix may name one cache there, with :TAG behind it, or with @DIGEST, which archives don't take.

Exit status: 0 done, 1 failed (sync, migrate run: at least one cache failed), 2 wrong usage, 3 verify found an error (with --strict: or a
warning), diff a difference, repair damage, explain a miss or migrate check an obstacle, 4 not found (unpack: parts are missing), 5 locked by
another process, 6 refused by the registry, 130 interrupted, 141 nobody reads the output any more.`, english.WordSeries(layout.Spellings(""), "or")),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version, err := cmd.Flags().GetBool("version"); version || err != nil {
				return errors.Join(err, a.runVersion())
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.running = cmd
			return a.check()
		},
	}
	root.SetOut(&a.help)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.Flags().Bool("version", false, "show the version, like 'ocicache version'")
	a.addFlags(root.PersistentFlags())
	root.AddCommand(a.convertCommand(), a.copyCommand(), a.syncCommand(), a.migrateCommand(), a.mergeCommand(), a.packCommand(), a.unpackCommand(),
		a.extractCommand(), a.lsCommand(), a.inspectCommand(), a.diffCommand(), a.verifyCommand(), a.explainCommand(), a.tagCommand(), a.rmCommand(),
		a.pruneCommand(), a.gcCommand(), a.repairCommand(), a.registriesCommand(), a.versionCommand())
	root.AddCommand(environmentTopic(), accessTopic())
	root.SetHelpCommand(a.helpCommand())
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.writeHelp(cmd) })
	addCompletionCommand(root)
	if len(a.args) > 0 && (a.args[0] == cobra.ShellCompRequestCmd || a.args[0] == cobra.ShellCompNoDescRequestCmd) {
		completeWords(root)
		withoutMarks(root)
	}
	for _, cmd := range root.Commands() {
		cmd.Args = a.usageArgs(cmd.Args)
		for _, sub := range cmd.Commands() {
			sub.Args = a.usageArgs(sub.Args)
		}
	}
	root.Args = a.usageArgs(root.Args)
	addManCommand(root)
	return root
}

func (a *app) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&a.json, "json", false, "write the result as one JSON object; for errors as JSON on standard error, add --progress json")
	flags.StringVar(&a.progress, "progress", string(progress.Auto), "how to show progress on standard error: `MODE` is auto, plain, json or none")
	flags.IntVar(&a.jobs, "jobs", 0, "work on `N` blobs at once (default one per processor)")
	flags.DurationVar(&a.lockTimeout, "lock-timeout", layout.DefaultLockTimeout, "how long to wait for another process's lock; 0 to not wait")
	flags.BoolVar(&a.debug, "debug", false, "report what happens to each blob, and the types of errors")
}

// close closes what commands opened.
func (a *app) close() error {
	var err error
	for _, c := range a.closers {
		err = errors.Join(err, c.Close())
	}
	return errors.Join(err, a.hosts.Close())
}

func (a *app) check() error {
	if !a.debug { // retries by libraries are reported by our own events and errors
		logrus.SetLevel(logrus.ErrorLevel)
	}
	if a.jobs < 0 {
		return &usageError{fmt.Errorf("--jobs %d: want 1 or more, or 0 for one per processor", a.jobs)}
	}
	if a.lockTimeout < 0 {
		return &usageError{fmt.Errorf("--lock-timeout %v: want 0 or more", a.lockTimeout)}
	}
	if _, err := progress.Parse(a.progress); err != nil {
		return &usageError{unknownWord(err, a.progress, names(progress.Modes()))}
	}
	return nil
}

// usageArgs turns a wrong number of arguments into a usage error.
func (a *app) usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := checkSwitches(cmd, a.args); err != nil {
			return &usageError{err}
		}
		err := check(cmd, args)
		if word := new(wordError); errors.As(err, &word) {
			return &usageError{err}
		}
		if err != nil {
			return &usageError{fmt.Errorf("%w (see '%s --help')", argumentsError(cmd, args, err), cmd.CommandPath())}
		}
		return nil
	}
}

// show starts to show progress.
func (a *app) show() (layout.Handler, func()) {
	handler, stop := a.newProgress()
	once := sync.OnceFunc(stop)
	a.shown.Store(&progressShown{handler, once})
	return func(e layout.Event) {
			if e.Kind == layout.EventPlan && e.Count > 0 {
				a.planned.Store(true)
			}
			handler.Send(e)
		}, func() {
			a.shown.Store(nil)
			once()
		}
}

// progressShown is a progress display, and the function that ends it.
type progressShown struct {
	layout.Handler
	stop func()
}

// retried reports a request that is made again: in the current progress display, else on a line of its own.
func (a *app) retried(e layout.Event) {
	if shown := a.shown.Load(); shown != nil {
		shown.Send(e)
		return
	}
	mode := progress.Mode(a.progress)
	if mode == progress.Auto {
		mode = progress.Plain
	}
	handler, stop := progress.New(mode, lineWriter{a.stderr})
	handler.Send(e)
	stop()
}

func (a *app) newProgress() (layout.Handler, func()) {
	mode := progress.Mode(a.progress)
	if a.debug && mode != progress.JSON {
		mode = progress.Trace
	}
	if mode == progress.Auto {
		mode = progress.Plain
		if file, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			mode = progress.Bars
		}
	}
	if mode == progress.Plain || mode == progress.Trace {
		return progress.New(mode, lineWriter{a.stderr})
	}
	return progress.New(mode, a.stderr)
}

// write writes a result to standard output: as JSON if asked for, else as text.
func (a *app) write(result any, text func(io.Writer) error) error {
	return a.writeTo(a.stdout, result, text)
}

func (a *app) writeTo(to io.Writer, result any, text func(io.Writer) error) error {
	if done, ok := result.(interface{ effort() effort }); ok {
		a.effort = done.effort()
	}
	if width := widthOf(to); width > 0 && !a.json {
		return writePage(to, width, text)
	}
	kept := &keeper{Writer: to}
	out := bufio.NewWriterSize(kept, resultBuffer)
	var err error
	if a.json {
		err = writeJSON(out, result)
	} else {
		err = text(out)
	}
	if err == nil {
		err = out.Flush()
	}
	if kept.err != nil {
		return &outputError{kept.err}
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// resultBuffer is how many bytes of a result are written at once.
const resultBuffer = 64 << 10

// writePage writes a result to a terminal.
func writePage(to io.Writer, width int, text func(io.Writer) error) error {
	out := &page{width: width}
	if err := text(out); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	shown := out.text()
	if out.width > 0 && inColour(to) {
		shown = paint(shown)
	}
	if _, err := io.WriteString(to, shown); err != nil {
		return &outputError{err}
	}
	return nil
}

// keeper keeps the first error of a writer for callers that do not check errors.
type keeper struct {
	io.Writer
	err error
}

func (k *keeper) Write(p []byte) (int, error) {
	n, err := k.Writer.Write(p)
	if k.err == nil {
		k.err = err
	}
	return n, err
}

// outputError says that a result could not be written, although the work that it describes was done.
type outputError struct{ err error }

func (e *outputError) Error() string {
	return fmt.Sprintf("write the result to standard output: %v", e.err)
}
func (e *outputError) Unwrap() error { return e.err }
