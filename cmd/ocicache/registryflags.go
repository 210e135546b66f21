package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// side is one end of a command, as the flags of registries name it.
type side string

const (
	either side = "" // the one registry of the command
	src    side = "src-"
	dest   side = "dest-"
)

// access is how to reach a registry, as given on the command line.
type access struct {
	authFile, creds, token, certDir string
	tlsVerify                       bool
}

// registryFlags are the flags of commands that may talk to registries.
type registryFlags struct {
	cmd    *cobra.Command
	set    *pflag.FlagSet
	access map[side]*access
	// password says that the password of the one --creds that lacks it is read from standard input.
	password bool
	retry    int
	idle     time.Duration
	givesUp  bool          // the command has the flag
	giveUp   time.Duration // 0 if the command has a rule of its own, or none
	rate     float64
}

// addRegistryFlags adds flags for the given sides.
func addRegistryFlags(cmd *cobra.Command, sides ...side) *registryFlags {
	f := &registryFlags{cmd: cmd, set: cmd.Flags(), access: map[side]*access{}}
	names := []string{"password-stdin", "retry", "rate", "idle-timeout"}
	for _, s := range append([]side{either}, sides...) {
		a := &access{}
		f.access[s] = a
		of := sideNames[s]
		f.set.StringVar(&a.authFile, string(s)+"authfile", "", "`FILE` with credentials for "+of)
		f.set.StringVar(&a.creds, string(s)+"creds", "", "`USER:PASSWORD` for "+of)
		f.set.StringVar(&a.token, string(s)+"registry-token", "", "bearer `TOKEN` for "+of)
		f.set.StringVar(&a.certDir, string(s)+"cert-dir", "", "`DIR` with *.crt, *.cert and *.key for "+of)
		f.set.BoolVar(&a.tlsVerify, string(s)+"tls-verify", true, strings.TrimSuffix("require HTTPS and verify certificates of "+of, " of the registry"))
		for _, name := range accessFlags() {
			names = append(names, string(s)+name)
		}
	}
	f.set.BoolVar(&f.password, "password-stdin", false, "read the password of --creds USER from standard input")
	f.set.IntVar(&f.retry, "retry", registry.DefaultRetries, "retry a failed request to a registry `N` times")
	f.set.Float64Var(&f.rate, "rate", 0, "send at most `N` requests a second (default: no limit)")
	f.set.DurationVar(&f.idle, "idle-timeout", registry.DefaultIdle, "give up a connection that is silent for this long")
	for _, name := range names {
		f.set.Lookup(name).Annotations = map[string][]string{registryGroup: nil}
	}
	return f
}

// addGiveUp adds the flag for commands that may take long.
func (f *registryFlags) addGiveUp() {
	const name = "give-up"
	f.givesUp = true
	f.set.DurationVar(&f.giveUp, name, registry.DefaultGiveUp, "give up on a registry that is busy for this long")
	f.set.Lookup(name).Annotations = map[string][]string{registryGroup: nil}
}

// registryGroup marks flags that the help shows apart from a command's own.
const registryGroup = "registry"

// call gives the sides other names in the help, for a command that names its arguments otherwise.
func (f *registryFlags) call(names map[side]string) {
	for s, name := range names {
		for _, flag := range accessFlags() {
			usage := &f.set.Lookup(string(s) + flag).Usage
			*usage = strings.ReplaceAll(*usage, sideNames[s], name)
		}
	}
}

// sideNames are the words for the registries in the help.
var sideNames = map[side]string{either: "the registry", src: "SRC's registry", dest: "DST's registry"}

// accessFlags returns the names of the flags that exist for each side.
func accessFlags() []string {
	return []string{"authfile", "creds", "registry-token", "cert-dir", "tls-verify"}
}

// check rejects short names that could mean two registries. Two repositories of one registry are no problem.
func (f *registryFlags) check(refs ...layout.Reference) error {
	hosts := map[string]bool{}
	for _, ref := range refs {
		if isRegistry(ref) {
			hosts[registry.HostOf(ref.Path)] = true
		}
	}
	if err := f.checkNumbers(); err != nil {
		return err
	}
	if err := f.checkFiles(); err != nil {
		return err
	}
	for _, name := range accessFlags() {
		if f.set.Changed(name) && len(hosts) > 1 && name != "authfile" { // its entries name their registries
			if err := f.ambiguous(name); err != nil {
				return err
			}
		}
	}
	return f.readPassword()
}

// checkNumbers rejects invalid numbers.
func (f *registryFlags) checkNumbers() error {
	switch {
	case f.retry < 0:
		return &usageError{fmt.Errorf("--retry %d: want 0 or more", f.retry)}
	case f.set.Changed("rate") && (f.rate <= 0 || math.IsInf(f.rate, 0) || math.IsNaN(f.rate)):
		return &usageError{fmt.Errorf("--rate %v: want requests a second, more than 0", f.rate)}
	case f.givesUp && f.giveUp <= 0:
		return &usageError{fmt.Errorf("--give-up %v: want more than 0", f.giveUp)}
	case f.idle <= 0:
		return &usageError{fmt.Errorf("--idle-timeout %v: want more than 0", f.idle)}
	}
	return nil
}

// checkFiles rejects files and directories that can't be read, before any registry is asked. A common flag that every side overrides is
// not checked.
func (f *registryFlags) checkFiles() error {
	for _, s := range []side{either, src, dest} {
		a, ok := f.access[s]
		if !ok {
			continue
		}
		for _, named := range []struct {
			flag, path string
			check      func(string) error
		}{{"authfile", a.authFile, registry.CheckAuthFile}, {"cert-dir", a.certDir, registry.CheckCertDir}} {
			if named.path == "" || s == either && f.isSetForAll(named.flag) {
				continue
			}
			if err := named.check(named.path); err != nil {
				return fmt.Errorf("--%s%s: %w", s, named.flag, notThereOr(err, named.path))
			}
		}
	}
	return nil
}

// checkEnvironment rejects a file with credentials that the environment names but that can't be read.
func (f *registryFlags) checkEnvironment() error {
	path := os.Getenv(authVariable)
	if path == "" || f.set.Changed("authfile") {
		return nil
	}
	if err := registry.CheckAuthFile(path); err != nil {
		return fmt.Errorf("%s: %w", authVariable, notThereOr(err, path))
	}
	return nil
}

// authVariable names the file with credentials, if no flag does.
const authVariable = "REGISTRY_AUTH_FILE"

// isSetForAll reports whether there are several sides and each has its own value for a flag.
func (f *registryFlags) isSetForAll(name string) bool {
	if len(f.access) == 1 {
		return false
	}
	for s := range f.access {
		if s != either && !f.set.Changed(string(s)+name) {
			return false
		}
	}
	return true
}

// checkAll is check for everything that a command names, as an argument or in a flag. An invalid reference is reported when it is opened.
func (f *registryFlags) checkAll(texts []string) error {
	var refs []layout.Reference
	for _, text := range texts {
		if ref, err := layout.ParseReference(text); err == nil {
			refs = append(refs, ref)
		}
	}
	return f.check(refs...)
}

// checkSide rejects credentials for a side with no registry: they were meant for something else. Other flags without effect there
// are accepted, because scripts may give them for every place.
func (f *registryFlags) checkSide(s side, what string, refs ...layout.Reference) error {
	if slices.ContainsFunc(refs, isRegistry) {
		return nil
	}
	for _, name := range secretFlags {
		if f.set.Changed(string(s) + name) {
			return &usageError{fmt.Errorf("--%s%s is for %s, which is not in a registry", s, name, what)}
		}
	}
	return nil
}

// baseOf returns other references with that of --base, if it is one.
func baseOf(base string, refs ...layout.Reference) []layout.Reference {
	if ref, err := layout.ParseReference(base); base != "" && err == nil {
		return append(slices.Clip(refs), ref)
	}
	return refs
}

// eitherError says that a flag could mean either of two registries.
type eitherError struct{ flag string }

func (e *eitherError) Error() string {
	return fmt.Sprintf("--%s could mean either registry: use --src-%s or --dest-%s", e.flag, e.flag, e.flag)
}

// ambiguous rejects a short name when there are two registries. If there are no long names, it rejects only secrets.
func (f *registryFlags) ambiguous(name string) error {
	if _, ok := f.access[src]; ok {
		return &usageError{&eitherError{name}}
	}
	if name == "tls-verify" || name == "cert-dir" {
		return nil
	}
	return &usageError{fmt.Errorf("--%s is for one registry, but several are given: use --authfile, with an entry for each", name)}
}

// maxPassword is the longest password, in bytes.
const maxPassword = 64 << 10

// readPassword reads the password for --password-stdin, once.
func (f *registryFlags) readPassword() error {
	var without []*access
	for s, a := range f.access {
		switch {
		case !f.set.Changed(string(s)+"creds") || strings.Contains(a.creds, ":"):
		case !f.password:
			return &usageError{&wordError{
				fmt.Errorf("--%screds %s: no password given", s, a.creds),
				"to read it from standard input, use --password-stdin; for an empty one, --" + string(s) + "creds USER:",
			}}
		default:
			without = append(without, a)
		}
	}
	if !f.password {
		return nil
	}
	f.password = false
	pairs := f.set.Lookup("pairs")
	provenance, _ := f.set.GetStringArray("provenance") // not every command has it
	switch name := f.cmd.Name(); {
	case len(without) != 1:
		return &usageError{errors.New("--password-stdin needs --creds USER without a password, for one registry")}
	case name != "pack" && slices.Contains(f.set.Args(), stdinName), pairs != nil && pairs.Value.String() == stdinName,
		slices.Contains(provenance, stdinName):
		return &usageError{errors.New("--password-stdin and - both need standard input")}
	}
	raw, err := io.ReadAll(io.LimitReader(f.cmd.InOrStdin(), maxPassword))
	if err != nil {
		return fmt.Errorf("read the password from standard input: %w", err)
	}
	password := strings.TrimRight(string(raw), "\r\n")
	if password == "" {
		return &usageError{errors.New("--password-stdin: no password on standard input")}
	}
	without[0].creds += ":" + password
	return nil
}

// options returns how to open a place on one side.
func (f *registryFlags) options(s side) places.Options {
	o := registry.Options{
		AuthFile: os.Getenv(authVariable), UserAgent: "ocicache/" + versionName(), Retries: f.retry, Idle: f.idle, Rate: f.rate,
		GiveUp: f.giveUp,
	}
	if f.retry == 0 {
		o.Retries = -1
	}
	for _, s := range []side{either, s} {
		a, ok := f.access[s]
		if !ok {
			continue
		}
		for name, take := range map[string]func(){
			"authfile":       func() { o.AuthFile = a.authFile },
			"creds":          func() { o.Creds = a.creds },
			"registry-token": func() { o.RegistryToken = a.token },
			"cert-dir":       func() { o.CertDir = a.certDir },
			"tls-verify":     func() { o.TLSVerify = &a.tlsVerify },
		} {
			if f.set.Changed(string(s) + name) {
				take()
			}
		}
	}
	return places.Options{Registry: o}
}
