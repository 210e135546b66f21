package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/buildcache"
)

// secretFlags are the flags whose values are not shown.
var secretFlags = []string{"creds", "registry-token"}

// corrected returns the command line that is running, with the form that a registry takes: what a user can run instead.
func (a *app) corrected(form buildcache.Form) string {
	if a.running == nil {
		return "--to " + string(form)
	}
	name := a.running.Name()
	switch {
	case name == "copy": // which changes nothing
		name = "convert"
	case a.running.Flags().Lookup("to") == nil: // nor has it another form
		return a.commandLine("ocicache convert", a.running.Flags().Args()[:1], notOfRegistries) + " --to " + string(form) + "; and then this again"
	}
	return a.repeated("ocicache "+name, "to", string(form))
}

// notOfRegistries reports whether a flag is about something else than how registries are talked to.
func notOfRegistries(f *pflag.Flag) bool {
	_, ok := f.Annotations[registryGroup]
	return !ok
}

// repeated returns the command line that is running, under a name, with another value of a flag; or as it is, for no flag.
func (a *app) repeated(name, flag, value string) string {
	line := a.commandLine(name, a.running.Flags().Args(), func(f *pflag.Flag) bool { return f.Name == flag })
	if flag == "" {
		return line
	}
	return line + " --" + flag + " " + value
}

// commandLine returns a command with other arguments and the flags that are given, but for some.
func (a *app) commandLine(name string, args []string, without func(*pflag.Flag) bool) string {
	words := []string{name}
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") && arg != "-" { // a path, which stood behind --
			arg = "./" + arg
		}
		words = append(words, quoted(arg))
	}
	a.running.Flags().Visit(func(f *pflag.Flag) {
		short := strings.TrimPrefix(strings.TrimPrefix(f.Name, string(src)), string(dest))
		switch list, isList := f.Value.(pflag.SliceValue); {
		case without(f):
		case slices.Contains(secretFlags, short):
			words = append(words, "--"+f.Name+" ...")
		case isList:
			for _, value := range list.GetSlice() {
				words = append(words, "--"+f.Name+" "+quoted(value))
			}
		case f.NoOptDefVal != "":
			words = append(words, strings.TrimSuffix("--"+f.Name+"="+f.Value.String(), "=true"))
		default:
			words = append(words, "--"+f.Name+" "+quoted(f.Value.String()))
		}
	})
	return strings.Join(words, " ")
}
