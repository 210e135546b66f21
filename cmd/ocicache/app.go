package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/ocicache/ocicache/internal/progress"
	"github.com/ocicache/ocicache/layout"
)

// app is what every command has: where it writes to, and the flags that all commands share.
type app struct {
	stdout, stderr io.Writer

	json        bool
	progress    string
	jobs        int
	lockTimeout time.Duration
	debug       bool

	link    bool        // of the commands that have it
	closers []io.Closer // what to close in the end
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "ocicache",
		Short: "Make BuildKit cache exports usable anywhere",
		Long: `ocicache converts BuildKit cache exports (--cache-to type=local) between their manifest forms, recompresses their
layers, copies and syncs them to and from registries, packs them into archives that cross an air gap, and inspects and
verifies them. A cache that it wrote is a cache that BuildKit still hits.

A reference names a cache in a place: a bare path (a directory is a layout, a file is an archive), oci:DIR[:TAG],
oci-archive:FILE[:TAG] or docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST].

Exit status: 0 done, 1 failed (sync: any cache failed), 2 wrong usage, 3 verify found an error, 4 not found (unpack: parts
are missing), 5 locked by another process, 6 refused by the registry, 130 interrupted.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.check() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	a.addFlags(root.PersistentFlags())
	root.AddCommand(a.convertCommand(), a.copyCommand(), a.syncCommand(), a.packCommand(), a.unpackCommand(),
		a.extractCommand(), a.inspectCommand(), a.verifyCommand(), a.registriesCommand(), a.versionCommand())
	for _, cmd := range root.Commands() {
		cmd.Args = usageArgs(cmd.Args)
	}
	root.Args = usageArgs(root.Args)
	addManCommand(root)
	return root
}

func (a *app) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&a.json, "json", false, "write the result as one JSON object")
	flags.StringVar(&a.progress, "progress", string(progress.Auto), "show progress on standard error: auto, plain, json or none")
	flags.IntVar(&a.jobs, "jobs", 0, "blobs to work on at once (default one for each processor)")
	flags.DurationVar(&a.lockTimeout, "lock-timeout", layout.DefaultLockTimeout, "how long to wait for another process's lock; 0 not at all")
	flags.BoolVar(&a.debug, "debug", false, "say what happens to each blob, and errors with their types")
}

// close closes what commands opened.
func (a *app) close() error {
	var err error
	for _, c := range a.closers {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (a *app) check() error {
	if !a.debug { // what a library tells of its retries is told by events and errors of ours
		logrus.SetLevel(logrus.ErrorLevel)
	}
	if a.jobs < 0 {
		return &usageError{fmt.Errorf("--jobs %d: want 1 or more, or 0 for one for each processor", a.jobs)}
	}
	if a.lockTimeout < 0 {
		return &usageError{fmt.Errorf("--lock-timeout %v: want 0 or more", a.lockTimeout)}
	}
	if _, err := progress.Parse(a.progress); err != nil {
		return &usageError{err}
	}
	return nil
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{fmt.Errorf("%w (see '%s --help')", err, cmd.CommandPath())}
		}
		return nil
	}
}

// show starts to show progress.
func (a *app) show() (layout.Handler, func()) {
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
	return progress.New(mode, a.stderr)
}

// write puts a result on standard output: as JSON if that is asked for, else as text says it.
func (a *app) write(result any, text func(io.Writer) error) error {
	var out bytes.Buffer
	var err error
	if a.json {
		enc := json.NewEncoder(&out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		err = enc.Encode(result)
	} else {
		err = text(&out)
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	shown := out.String()
	if !a.json {
		shown = clean(shown)
	}
	if _, err := io.WriteString(a.stdout, shown); err != nil {
		return &outputError{err}
	}
	return nil
}

// outputError says that a result could not be written, though what it tells of was done.
type outputError struct{ err error }

func (e *outputError) Error() string {
	return fmt.Sprintf("write the result to standard output: %v", e.err)
}
func (e *outputError) Unwrap() error { return e.err }
