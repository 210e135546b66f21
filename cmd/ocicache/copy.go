package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/convert"
)

func (a *app) copyCommand() *cobra.Command {
	flags := &transferFlags{}
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy one cache from any place to any place, unchanged",
		Long: `Copy one cache from any place to any place. Its bytes stay as they are: every digest is the same on the other side.
Digests and sizes of what is copied are checked on the way, what was pushed is read again, and the tag moves last.`,
		Example: `  ocicache copy ./cache docker://registry.example.com/team/cache:main
  ocicache copy docker://registry.example.com/team/cache:main oci:./cache:main`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runCopy(cmd.Context(), flags, args) },
	}
	flags.add(a, cmd)
	return cmd
}

func (a *app) runCopy(ctx context.Context, flags *transferFlags, args []string) error {
	job, err := a.newTransfer(ctx, flags, args)
	if err != nil {
		return err
	}
	options := convert.Options{Jobs: job.jobs, DryRun: flags.dryRun}
	if options.Preflight, err = flags.preflight(job); err != nil {
		return err
	}
	return a.convertAll(ctx, job, options)
}
