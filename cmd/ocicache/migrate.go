package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/webpage"
	"github.com/ocicache/ocicache/migrate"
	"github.com/ocicache/ocicache/places"
)

func (a *app) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Copy caches from many places to many others, following a plan",
		Long: `Copy caches from many places to many others, unattended, following a plan: 'init' writes a plan, 'check' shows what it would do, 'run'
carries it out, in one process per shard, and 'report' shows how it went.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.migrateInitCommand(), a.migrateCheckCommand(), a.migrateRunCommand(), a.migrateReportCommand())
	return cmd
}

func (a *app) migrateInitCommand() *cobra.Command {
	flags := &migrateFlags{}
	cmd := &cobra.Command{
		Use:   "init SRC... DST",
		Short: "Look at places and print a plan for their caches",
		Long: `Look at places and print a plan that copies all their caches to DST, with what was found in each. DST is neither read nor written;
{repository} in it stands for the name of each source.`,
		Example: `  ocicache migrate init docker://old.example.com/team/a docker://old.example.com/team/b docker://new.example.com >plan.yaml`,
		Args:    cobra.MinimumNArgs(2),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runMigrateInit(cmd.Context(), flags, args) },
	}
	flags.registry = addRegistryFlags(cmd)
	return cmd
}

func (a *app) migrateCheckCommand() *cobra.Command {
	flags := &migrateFlags{}
	var schema bool
	cmd := &cobra.Command{
		Use:   "check PLAN",
		Short: "Show what is wrong with a plan, and what it would do",
		Long: `Show what is wrong with a plan, with line and column; then look at every place in it and show what would be done: which
caches, how many bytes and requests for each registry, what filters leave out, what a target would refuse. Nothing is written.
The exit status is 3 if something would not be copied.`,
		Example: `  ocicache migrate check plan.yaml`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case schema && len(args) == 0:
				return a.writeRaw(migrate.Schema())
			case schema || len(args) == 0:
				return &usageError{errors.New("want a PLAN, or --schema")}
			}
			return a.runMigrateCheck(cmd.Context(), cmd.InOrStdin(), flags, args[0])
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON schema of plans, for editors")
	return cmd
}

func (a *app) migrateRunCommand() *cobra.Command {
	flags := &migrateFlags{}
	cmd := &cobra.Command{
		Use:   "run PLAN",
		Short: "Carry out a plan",
		Long: `Carry out a plan. A cache that fails does not stop the others, and neither does a registry that is down: what is left is listed by
cause, with the command that tries it again, and the exit status is 1. It is 0 only if everything planned is at its target.

With --state FILE, a run continues where the last one ended: caches that are done and unchanged at their source are not checked again,
unless the target is a layout; to find tags that were deleted in a registry, run without --state. What failed is tried again, unless
it can't succeed. --json then writes the summary. Without --state, --json writes the lines of a state to standard output as things
happen (docs/schema/migrate-run-lines.json), and the summary as text to standard error.`,
		Example: `  ocicache migrate run plan.yaml --state night.jsonl
  ocicache migrate run plan.yaml --state night.jsonl --only failed
  ocicache migrate run plan.yaml --shard 3/16 --json >shard-3.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runMigrateRun(cmd.Context(), cmd.InOrStdin(), flags, args[0])
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.trust, "trust-destination", false, "reuse recompressed layers of targets without reading them")
	return cmd
}

func (a *app) migrateReportCommand() *cobra.Command {
	page := besideFile{isOurs: webpage.IsOurs}
	cmd := &cobra.Command{
		Use:   "report FILE...",
		Short: "Show how a plan went",
		Long: `Show how a plan went, from the states of its runs: state files, or logs with their lines; - is standard input. The states of several
shards are combined. The report only says that everything is there if every shard has run to its end; no registry is asked. The exit
status is 0 in any case: scripts can look at 'complete' in --json.`,
		Example: `  ocicache migrate report night.jsonl --html night.html
  kubectl logs -l job-name=ocicache-migrate --tail=-1 --max-log-requests=100 | ocicache migrate report -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runMigrateReport(cmd.Context(), cmd.InOrStdin(), page, args)
		},
	}
	page.overwrite = overwriteFlag(cmd, "--html")
	cmd.Flags().StringVar(&page.path, "html", "", "also write the report to this `FILE`, as a self-contained HTML page")
	return cmd
}

// migrateFlags are the flags of commands that take a plan.
type migrateFlags struct {
	registry *registryFlags
	pairs    string
	state    string
	shard    string
	only     string
	parallel int
	giveUp   time.Duration
	trust    bool
}

func (f *migrateFlags) add(cmd *cobra.Command) {
	f.registry = addRegistryFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.pairs, "pairs", "", "a `FILE` with lines of SOURCE TARGET, each a migration with the plan's defaults; - is standard input")
	flags.StringVar(&f.state, "state", "", "the `FILE` that records what was done with each cache")
	flags.StringVar(&f.shard, "shard", "", "work on share `I/N` of the caches; N alone takes I from JOB_COMPLETION_INDEX")
	flags.StringVar(&f.only, "only", "", "only retry what failed, by the state: failed for everything, or one `CAUSE`")
	flags.IntVar(&f.parallel, "parallel", migrate.DefaultParallel, "work on this many caches at once; --jobs limits the layers of all of them")
	flags.DurationVar(&f.giveUp, "give-up", migrate.DefaultGiveUp, "how long a registry may be down before its caches are left for the next run")
}

// options returns the options that the flags set, except the state.
func (f *migrateFlags) options(a *app, plan *migrate.Plan) (migrate.Options, error) {
	if err := f.registry.check(); err != nil {
		return migrate.Options{}, err
	}
	if len(plan.Hosts()) > 0 {
		if err := f.registry.checkEnvironment(); err != nil {
			return migrate.Options{}, err
		}
	}
	o := migrate.Options{
		Layout: a.layoutOptions(), Registry: f.registry.options(either).Registry, Parallel: f.parallel, Jobs: a.jobs, GiveUp: f.giveUp,
		Trust: f.trust, Version: versionName(),
	}
	o.Registry.Hosts, o.Registry.OnEvent = &a.hosts, a.retried
	if err := a.checkSecrets(f.registry, plan.Hosts()); err != nil {
		return o, err
	}
	if f.parallel < 1 {
		return o, &usageError{fmt.Errorf("--parallel %d: want 1 or more", f.parallel)}
	}
	if f.giveUp <= 0 {
		return o, &usageError{fmt.Errorf("--give-up %v: want more than 0", f.giveUp)}
	}
	var err error
	if f.shard != "" {
		if o.Shard, err = migrate.ParseShard(f.shard, os.Getenv("JOB_COMPLETION_INDEX")); err != nil {
			return o, &usageError{fmt.Errorf("--%w", err)}
		}
	}
	if f.only == "" {
		return o, nil
	}
	if f.state == "" {
		return o, &usageError{errors.New("--only needs --state, to know what failed")}
	}
	if o.Only, err = migrate.ParseOnly(f.only); err != nil {
		words := append([]string{string(migrate.OnlyFailed)}, names(migrate.Causes())...)
		return o, &usageError{unknownWord(fmt.Errorf("--only: %w", err), f.only, words)}
	}
	return o, nil
}

// read reads a plan and the flags, as a run and its check both need them.
func (f *migrateFlags) read(a *app, stdin io.Reader, name string) (*migrate.Plan, migrate.Options, error) {
	plan, err := f.readPlan(stdin, name)
	if err != nil {
		return nil, migrate.Options{}, err
	}
	for _, warning := range plan.Warnings() {
		a.note(fmt.Sprintf("plan %s: %v", name, warning))
	}
	o, err := f.options(a, plan)
	return plan, o, err
}

// readPlan reads a plan, and the pairs that belong to it.
func (f *migrateFlags) readPlan(stdin io.Reader, name string) (*migrate.Plan, error) {
	if name == stdinName && f.pairs == stdinName {
		return nil, &usageError{errors.New("the plan and --pairs can't both be standard input")}
	}
	raw, err := readInput(stdin, name)
	if err != nil {
		return nil, err
	}
	plan, err := migrate.ParsePlan(name, raw)
	if err != nil {
		return nil, err
	}
	if f.pairs != "" {
		if raw, err = readInput(stdin, f.pairs); err != nil {
			return nil, err
		}
		if err := plan.AddPairs(f.pairs, raw); err != nil {
			return nil, err
		}
	}
	if err := plan.Check(name); err != nil {
		return nil, err
	}
	var notThere *places.NotThereError
	if err := plan.CheckFiles(name); err != nil && !errors.As(err, &notThere) {
		return nil, &usageError{err}
	} else if err != nil {
		return nil, err
	}
	return plan, nil
}

func (a *app) runMigrateInit(ctx context.Context, flags *migrateFlags, args []string) error {
	sources, to := args[:len(args)-1], args[len(args)-1]
	if err := a.checkDraft(flags.registry, sources, to); err != nil {
		return err
	}
	o := migrate.Options{Layout: a.layoutOptions(), Registry: flags.registry.options(either).Registry}
	o.Registry.Hosts, o.Registry.OnEvent = &a.hosts, a.retried
	found, err := a.lookAt(ctx, sources, o)
	if err != nil {
		return err
	}
	draft := migrate.Draft(found, to, o, foundLine)
	plan, err := migrate.ParsePlan("drafted", []byte(draft))
	if err == nil {
		err = plan.Check("drafted")
	}
	if err != nil { // DST is not valid, or one of SRC occurs twice
		return err
	}
	a.noteSecrets(flags.registry, plan.Hosts())
	result := initResult{Sources: found, Plan: draft}
	return a.write(result, func(w io.Writer) error {
		if p, ok := w.(*page); ok {
			p.width = 0 // it is the content of a file
		}
		_, err := io.WriteString(w, draft)
		return err
	})
}

func (a *app) runMigrateCheck(ctx context.Context, stdin io.Reader, flags *migrateFlags, name string) (err error) {
	plan, o, err := flags.read(a, stdin, name)
	if err != nil {
		return err
	}
	if flags.state != "" {
		if o.State, err = a.readStates(stdin, []string{flags.state}); err != nil {
			return err
		}
	}
	handler, stop := a.show()
	o.OnEvent = handler
	summary, err := migrate.Check(ctx, plan, o)
	stop()
	if err != nil {
		return err
	}
	if err := a.write(summary, checkResult{summary}.render); err != nil {
		return err
	}
	if summary.Err() != nil {
		return errFound
	}
	return nil
}

func (a *app) runMigrateRun(ctx context.Context, stdin io.Reader, flags *migrateFlags, name string) (err error) {
	plan, o, err := flags.read(a, stdin, name)
	if err != nil {
		return err
	}
	all := listing{text: "--json writes a line for each of these, with its error"}
	show := func(s *migrate.Summary) error { return a.write(s, runResult{s, all}.render) }
	switch {
	case flags.state != "":
		state, err := migrate.OpenState(ctx, flags.state, a.lockTimeout)
		if err != nil {
			return err
		}
		a.closers = append(a.closers, state)
		o.State, o.Record, o.Args = state.State, state.Record, a.argsAgain()
		all = listing{"each of these with its error, as unfinished:", "ocicache migrate report " + pathArgument(flags.state) + " --json"}
	case a.json:
		o.Record = migrate.RecordTo(a.stdout)
		show = func(s *migrate.Summary) error { return runResult{Summary: s}.render(a.stderr) }
	}
	handler, stop := a.show()
	o.OnEvent = handler
	summary, err := migrate.Run(ctx, plan, o)
	stop()
	if err := errors.Join(err, show(summary)); err != nil {
		return err
	}
	return summary.Err()
}

// readStates reads states, and logs that contain their lines.
func (a *app) readStates(stdin io.Reader, names []string) (*migrate.State, error) {
	state := migrate.NewState()
	for _, name := range names {
		if name == stdinName {
			if err := state.Read("standard input", stdin); err != nil {
				return nil, err
			}
			continue
		}
		file, _, err := durable.OpenRegular(name)
		if err != nil {
			return nil, notThereOr(err, name)
		}
		if err := errors.Join(state.Read(name, file), file.Close()); err != nil {
			return nil, err
		}
	}
	return state, nil
}

func (a *app) runMigrateReport(ctx context.Context, stdin io.Reader, page besideFile, names []string) error {
	page.spared = readFrom(names)
	if err := page.check(); err != nil {
		return err
	}
	state, err := a.readStates(stdin, names)
	if err != nil {
		return err
	}
	report := migrate.NewReport(state)
	if err := a.writeBeside(ctx, &page, report.WriteHTML); err != nil {
		return err
	}
	return a.write(report, reportResult{report}.render)
}

// readFrom returns the paths of the inputs.
func readFrom(names []string) []string {
	paths := slices.Clone(names)
	for i, name := range paths {
		if name == stdinName {
			paths[i] = os.Stdin.Name()
		}
	}
	return paths
}

// writeRaw writes bytes to standard output.
func (a *app) writeRaw(raw []byte) error {
	if _, err := a.stdout.Write(raw); err != nil {
		return &outputError{err}
	}
	return nil
}
