package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
	"github.com/ocicache/ocicache/registry"
)

// hintAgain says what helps with what a run left undone, and which command tries it again.
func (a *app) hintAgain(s *migrate.Summary) string {
	var first []string // what has to be done first
	passing, hopeless := false, false
	for _, c := range s.Causes {
		switch {
		case c.Cause == migrate.CauseNotThere:
			first = append(first, "create the source that is missing, or correct its name in the plan")
		case c.Cause == migrate.CauseTooFew:
			first = append(first, "add caches to the source, or lower min in the plan")
		case c.Cause == migrate.CauseDamaged:
			first = append(first, a.hintDamaged(s, c))
		case c.Hopeless:
			hopeless = true
		}
		passing = passing || mayPass(c)
	}
	switch {
	case passing || len(s.Causes) == 0:
		return strings.Join(append([]string{a.tryAgain()}, first...), "; ")
	case len(first) == 0:
		return "running it again won't help unless the plan or the sources change; verify shows what is wrong with a cache, 'ocicache registries' what targets accept"
	case hopeless:
		first = append(first, "what is not tried again needs another plan or source")
	}
	return strings.Join(append(first, "after that, "+a.tryAgain()), "; ")
}

// mayPass reports whether trying again may help with a failure even if nobody does anything about it.
func mayPass(c migrate.CauseGroup) bool {
	return !c.Hopeless && c.Cause != migrate.CauseNotThere && c.Cause != migrate.CauseTooFew && c.Cause != migrate.CauseDamaged
}

// tryAgain names the command that tries again what is left.
func (a *app) tryAgain() string {
	if !a.hasState() {
		return "run the same command to try again; with --state FILE, a run continues where the one before ended"
	}
	return mention(a.repeated(a.running.CommandPath(), "only", string(migrate.OnlyFailed))) + " tries the rest again"
}

// hintDamaged says what helps with the first of the damaged caches, at the source or at the target.
func (a *app) hintDamaged(s *migrate.Summary, c migrate.CauseGroup) string {
	ref, target := c.Ends()
	var blob *layout.BlobError
	if errors.As(c.Err(), &blob) {
		if at, err := layout.ParseReference(blob.Place); err == nil && at.Path == target.Path && at.Path != ref.Path {
			ref = target
		}
	}
	if isArchive(ref.String()) {
		return archiveRemedy
	}
	damaged := subject{ref, a.accessOf(s.Plan, ref)}
	return fmt.Sprintf("running it again won't help until it is repaired; for %s, %s lists what is wrong, and %s repairs what it can, with --base PLACE from a place that has the complete cache",
		c.First, damaged.mention("verify"), damaged.mention("repair", "--write"))
}

// accessOf returns the flags for reaching the registry of a reference: those of the plan, or else those of the command.
func (a *app) accessOf(plan *migrate.Plan, ref layout.Reference) []string {
	if !isRegistry(ref) {
		return nil
	}
	words, said := a.accessTo(either), migrate.Registry{}
	if plan != nil {
		said = plan.Registries[registry.HostOf(ref.Path)]
	}
	instead := func(flag, word string) {
		words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "--"+flag) })
		words = append(words, word)
	}
	if said.TLSVerify != nil {
		instead("tls-verify", fmt.Sprintf("--tls-verify=%v", *said.TLSVerify))
	}
	if said.AuthFile != "" {
		instead("authfile", "--authfile "+quoted(said.AuthFile))
	}
	if said.CertDir != "" {
		instead("cert-dir", "--cert-dir "+quoted(said.CertDir))
	}
	return words
}

// argsAgain returns the words after 'migrate run' that continue the run, to be kept in its state. They contain no secrets, and are nil if
// the plan or the pairs come from standard input.
func (a *app) argsAgain() []string {
	flags := a.running.Flags()
	if pairs := flags.Lookup("pairs"); flags.Arg(0) == stdinName || pairs.Value.String() == stdinName {
		return nil
	}
	args := []string{flags.Arg(0)}
	if strings.HasPrefix(args[0], "-") { // a path, which was given after --
		args[0] = "./" + args[0]
	}
	flags.Visit(func(f *pflag.Flag) {
		switch value := f.Value.String(); f.Name {
		case "only", "json", "password-stdin":
		case "registry-token":
			args = append(args, tokenAgain)
		case "creds":
			user, password, has := strings.Cut(value, ":")
			if has && password == "" {
				args = append(args, "--creds="+value)
				return
			}
			args = append(args, "--creds="+user, "--password-stdin")
		default:
			args = append(args, "--"+f.Name+"="+value)
		}
	})
	return args
}

// tokenAgain stands for a token, which the shell takes from a variable.
const tokenAgain = "--registry-token=$REGISTRY_TOKEN"

// mostAgain is the most commands that a report prints.
const mostAgain = 3

// renderAgain prints the commands that continue with what is left, if that may help.
func renderAgain(w io.Writer, r *migrate.Report) {
	going, only := "to continue", ""
	switch {
	case r.Unended > 0:
		going = "to continue, where no run is still at work"
	case r.Cut == 0:
		going, only = "to try the rest again", " --only "+string(migrate.OnlyFailed)
		if !slices.ContainsFunc(r.Causes, mayPass) {
			going = "once that is repaired, " + going
		}
	}
	hopeless := !slices.ContainsFunc(r.Causes, func(c migrate.CauseGroup) bool { return !c.Hopeless })
	if r.Complete || only != "" && hopeless {
		return
	}
	for i, args := range r.Again {
		if i == mostAgain {
			say(w, "  and %d more of this kind\n", len(r.Again)-i)
			break
		}
		words := []string{"ocicache migrate run"}
		for _, arg := range args {
			if arg == tokenAgain {
				words = append(words, `--registry-token="$REGISTRY_TOKEN"`)
				continue
			}
			words = append(words, quoted(arg))
		}
		if i == 0 {
			say(w, "\n%s:\n", going)
		}
		sayCommand(w, strings.Join(words, " ")+only)
	}
}
