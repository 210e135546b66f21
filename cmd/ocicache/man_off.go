//go:build !man

package main

import "github.com/spf13/cobra"

// addManCommand adds nothing: the generator of man pages is not part of the shipped program. See man_on.go.
func addManCommand(*cobra.Command) {}
