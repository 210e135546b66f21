package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/buildcache"
)

// secretFlags are the flags whose values are never shown.
var secretFlags = []string{"creds", "registry-token"}

// corrected returns the running command line with a form that the registry takes, for the user to run instead.
func (a *app) corrected(form buildcache.Form) string {
	if a.running == nil {
		return "--to " + string(form)
	}
	name := a.running.Name()
	switch {
	case name == "copy": // copy changes nothing
		name = "convert"
	case a.running.Flags().Lookup("to") == nil: // the command can't change the form either
		first := a.commandLine("ocicache convert", a.running.Flags().Args()[:1], notOfRegistries) + " --to " + string(form)
		return mention(first) + " first, then run this again"
	}
	return a.repeated("ocicache "+name, "to", string(form))
}

// notOfRegistries reports whether a flag has nothing to do with how registries are reached.
func notOfRegistries(f *pflag.Flag) bool {
	_, ok := f.Annotations[registryGroup]
	return !ok
}

// repeated returns the running command line under some name, with another value for a flag, or with its flags unchanged for no flag.
func (a *app) repeated(name, flag, value string) string {
	line := a.commandLine(name, a.running.Flags().Args(), func(f *pflag.Flag) bool { return f.Name == flag })
	if flag == "" {
		return line
	}
	return line + " --" + flag + " " + value
}

// onBothSides returns the running command line with a flag that could mean either registry replaced by one for each side.
func (a *app) onBothSides(flag string) string {
	args := a.running.Flags().Args()
	line := a.commandLine(a.running.CommandPath(), args, func(f *pflag.Flag) bool { return f.Name == flag })
	f := a.running.Flags().Lookup(flag)
	for _, s := range []side{src, dest} {
		line += " " + strings.Join(a.givenFlags(args).words(f, string(s)+flag), " ")
	}
	return line
}

// repeatedAs returns the running command line as one of another command, with only the flags that both have.
func (a *app) repeatedAs(name string) string {
	if a.running == nil {
		return "ocicache " + name
	}
	return a.repeatedWith(name, a.running.Flags().Args())
}

// repeatedWith is repeatedAs with other arguments.
func (a *app) repeatedWith(name string, args []string) string {
	other, _, err := a.running.Root().Find([]string{name})
	if err != nil {
		other = a.running
	}
	return a.commandLine("ocicache "+name, args, func(f *pflag.Flag) bool {
		return other.Flags().Lookup(f.Name) == nil && other.InheritedFlags().Lookup(f.Name) == nil
	})
}

// commandLine returns a command with other arguments and the given flags, except some.
func (a *app) commandLine(name string, args []string, without func(*pflag.Flag) bool) string {
	words := []string{name}
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") && arg != "-" { // a path, which was given after --
			arg = "./" + arg
		}
		words = append(words, quoted(arg))
	}
	given := a.givenFlags(args)
	a.running.Flags().Visit(func(f *pflag.Flag) {
		if !without(f) {
			words = append(words, given.words(f, f.Name)...)
		}
	})
	return strings.Join(words, " ")
}

// givenFlags writes flags as they were given, except that secrets are asked for again.
type givenFlags struct{ stdin bool } // standard input is already used

// givenFlags returns a writer of flags for a command with some arguments.
func (a *app) givenFlags(args []string) *givenFlags {
	return &givenFlags{slices.Contains(args, stdinName)}
}

// words returns a flag, under some name, as shell words.
func (g *givenFlags) words(f *pflag.Flag, name string) []string {
	short := strings.TrimPrefix(strings.TrimPrefix(f.Name, string(src)), string(dest))
	switch list, isList := f.Value.(pflag.SliceValue); {
	case short == "password-stdin": // goes with --creds
		return nil
	case short == "creds":
		return g.creds(f.Value.String(), name)
	case short == "registry-token":
		return []string{"--" + name + ` "$` + variable(name) + `"`}
	case isList:
		var words []string
		for _, value := range list.GetSlice() {
			words = append(words, "--"+name+" "+quoted(value))
		}
		return words
	case f.NoOptDefVal != "":
		return []string{strings.TrimSuffix("--"+name+"="+f.Value.String(), "=true")}
	case strings.HasPrefix(f.Value.String(), "-"):
		return []string{"--" + name + "=" + quoted(f.Value.String())}
	default:
		return []string{"--" + name + " " + quoted(f.Value.String())}
	}
}

// creds returns USER:PASSWORD without the password, which is to come from standard input, or from a variable if that is already used.
func (g *givenFlags) creds(value, name string) []string {
	user, password, _ := strings.Cut(value, ":")
	switch {
	case password == "" && strings.HasSuffix(value, ":"):
		return []string{"--" + name + " " + quoted(value)}
	case g.stdin:
		return []string{"--" + name + " " + quoted(user) + `:"$` + variable(strings.TrimSuffix(name, "creds")+"password") + `"`}
	}
	g.stdin = true
	return []string{"--" + name + " " + quoted(user), "--password-stdin"}
}

// variable returns the name of a shell variable for a flag's value.
func variable(flag string) string { return strings.ToUpper(strings.ReplaceAll(flag, "-", "_")) }
