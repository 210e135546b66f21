package main

import (
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/convert"
)

func (a *app) copyCommand() *cobra.Command {
	flags := &transferFlags{}
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy one cache from any place to any place, unchanged",
		Long: `Copy one cache from any place to any place. Its bytes stay as they are, so every digest is the same in both places.
Digests and sizes are checked while copying, what was pushed is read back, and the tag moves last.`,
		Example: `  ocicache copy ./cache docker://registry.example.com/team/cache:main
  ocicache copy docker://registry.example.com/team/cache:main oci:./cache:main`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runTransfer(cmd.Context(), flags, args, convert.Options{})
		},
	}
	flags.add(a, cmd)
	flags.addOverwrite(cmd)
	return cmd
}
