package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// side is one end of a command, as the flags of registries name it.
type side string

const (
	either side = "" // the one registry of the command
	src    side = "src-"
	dest   side = "dest-"
)

// access is how to get into a registry, as given on the command line.
type access struct {
	authFile, creds, token, certDir string
	tlsVerify                       bool
}

// registryFlags are the flags of commands that may talk to registries.
type registryFlags struct {
	set    *pflag.FlagSet
	access map[side]*access
	retry  int
	idle   time.Duration
}

// addRegistryFlags adds flags for the given sides.
func addRegistryFlags(cmd *cobra.Command, sides ...side) *registryFlags {
	f := &registryFlags{set: cmd.Flags(), access: map[side]*access{}}
	for _, s := range append([]side{either}, sides...) {
		a := &access{}
		f.access[s] = a
		of := map[side]string{either: "the registry", src: "SRC's registry", dest: "DST's registry"}[s]
		f.set.StringVar(&a.authFile, string(s)+"authfile", "", "file with credentials for "+of)
		f.set.StringVar(&a.creds, string(s)+"creds", "", "USER:PASSWORD for "+of)
		f.set.StringVar(&a.token, string(s)+"registry-token", "", "bearer token for "+of)
		f.set.StringVar(&a.certDir, string(s)+"cert-dir", "", "directory with *.crt, *.cert and *.key for "+of)
		f.set.BoolVar(&a.tlsVerify, string(s)+"tls-verify", true, "require HTTPS and verify certificates of "+of)
	}
	f.set.IntVar(&f.retry, "retry", registry.DefaultRetries, "how often to try a request to a registry again")
	f.set.DurationVar(&f.idle, "idle-timeout", registry.DefaultIdle, "how long a registry may be silent")
	return f
}

// accessFlags are the names of the flags that exist for each side.
func accessFlags() []string {
	return []string{"authfile", "creds", "registry-token", "cert-dir", "tls-verify"}
}

// check refuses short names where they could mean two registries.
func (f *registryFlags) check(refs ...layout.Reference) error {
	registries := 0
	for _, ref := range refs {
		if isRegistry(ref) {
			registries++
		}
	}
	if f.retry < 0 {
		return &usageError{fmt.Errorf("--retry %d: want 0 or more", f.retry)}
	}
	if f.idle <= 0 {
		return &usageError{fmt.Errorf("--idle-timeout %v: want more than 0", f.idle)}
	}
	for _, name := range accessFlags() {
		if f.set.Changed(name) && registries > 1 {
			return &usageError{fmt.Errorf("--%s could mean either registry: use --src-%s or --dest-%s", name, name, name)}
		}
	}
	return nil
}

// options returns how to talk to the registry on one side.
func (f *registryFlags) options(s side) registry.Options {
	o := registry.Options{
		AuthFile: os.Getenv("REGISTRY_AUTH_FILE"), UserAgent: "ocicache/" + versionName(), Retries: f.retry, Idle: f.idle,
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
	return o
}
