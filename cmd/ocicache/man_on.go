//go:build man

package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// addManCommand adds the generator of man pages: go run -tags man ./cmd/ocicache man DIR.
func addManCommand(root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use:    "man DIR",
		Short:  "Write man pages",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			root.DisableAutoGenTag = true
			date := time.Unix(0, 0).UTC() // pages are the same whenever they are made
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "ocicache", Date: &date}, args[0])
		},
	})
}
