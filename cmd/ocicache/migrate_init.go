package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// checkDraft rejects invalid sources or targets of a plan before anything is read.
func (a *app) checkDraft(access *registryFlags, sources []string, to string) error {
	var wrong []error
	hosts := map[string]bool{}
	for _, source := range sources {
		ref, err := parse(source, "")
		wrong = append(wrong, err)
		if isRegistry(ref) {
			hosts[registry.HostOf(ref.Path)] = true
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	if ref, err := layout.ParseReference(to); err == nil { // otherwise the plan says something about it
		if err := places.CheckName(ref); err != nil {
			return &usageError{err}
		}
	}
	if err := access.check(); err != nil {
		return err
	}
	return a.checkSecrets(access, slices.Sorted(maps.Keys(hosts)))
}

// checkSecrets rejects credentials that would be sent to several registries.
func (a *app) checkSecrets(access *registryFlags, hosts []string) error {
	for _, name := range secretFlags {
		if access.set.Changed(name) && len(hosts) > 1 {
			err := fmt.Errorf("--%s would go to each of %d registries: use --authfile, or authfile in the plan", name, len(hosts))
			return &usageError{&wordError{err, a.logins(hosts) + " && " + a.withAuthFile()}}
		}
	}
	return nil
}

// sourcesError says which of several sources can't be put into a plan.
type sourcesError struct {
	of   int
	errs []error
}

func (e *sourcesError) Error() string {
	return fmt.Sprintf("%s of %d can't be looked at:\n%v", count(len(e.errs), "source"), e.of, errors.Join(e.errs...))
}

// Unwrap returns the error of each source.
func (e *sourcesError) Unwrap() []error { return e.errs }

// lookAt finds out what is in each of the sources. It fails with everything that is wrong with them.
func (a *app) lookAt(ctx context.Context, sources []string, o migrate.Options) ([]*migrate.Found, error) {
	var found []*migrate.Found
	var wrong []error
	for _, source := range sources {
		one, err := migrate.Look(ctx, source, o)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			wrong = append(wrong, err)
			continue
		case one.Caches == 0 && one.Broken > 0:
			a.note(fmt.Sprintf("%s: no cache in it can be read; the plan would fail with %s", source, one.Cause))
		case one.Caches == 0:
			a.note(fmt.Sprintf("%s: no cache in it; the plan would fail with %s", source, one.Cause))
		}
		found = append(found, one)
	}
	switch {
	case len(wrong) == 1 && len(sources) == 1:
		return nil, wrong[0]
	case len(wrong) > 0:
		return nil, &sourcesError{of: len(sources), errs: wrong}
	}
	return found, nil
}

// noteSecrets says that a plan for several registries needs other flags than those that it was made with.
func (a *app) noteSecrets(access *registryFlags, hosts []string) {
	for _, name := range secretFlags {
		if access.set.Changed(name) && len(hosts) > 1 {
			a.note(fmt.Sprintf("the plan names %d registries, and migrate check and run take --%s for one only: %s, and then --authfile %s", len(hosts), name, a.logins(hosts), authFile))
		}
	}
}

// authFile is the name of a file with credentials in printed commands.
const authFile = "auth.json"

// logins returns the commands that make a file with credentials for some registries.
func (a *app) logins(hosts []string) string {
	words := "skopeo login --authfile " + authFile + " "
	if trust := a.running.Flags().Lookup("tls-verify"); trust != nil && trust.Value.String() == "false" {
		words += "--tls-verify=false "
	}
	var commands []string
	for _, host := range hosts {
		commands = append(commands, words+quoted(host))
	}
	return strings.Join(commands, " && ")
}

// withAuthFile returns the running command line with a file for its credentials.
func (a *app) withAuthFile() string {
	line := a.commandLine(a.running.CommandPath(), a.running.Flags().Args(), func(f *pflag.Flag) bool {
		return slices.Contains(append([]string{"password-stdin"}, secretFlags...), f.Name)
	})
	return line + " --authfile " + authFile
}
