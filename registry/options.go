package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/containers/image/v5/pkg/cli/environment"
	"github.com/containers/image/v5/types"

	"github.com/ocicache/ocicache/layout"
)

// Options say how to talk to a registry. The zero value does what skopeo and podman do without flags: credentials from
// their files and Docker's, TLS verified unless registries.conf says otherwise.
type Options struct {
	AuthFile string // instead of the usual files; it must exist
	Creds    string // user:password, or a user name alone
	// Credentials returns the credentials for a host, host[:port], if Creds does not give any. It is called for every new
	// session, of which a job has many, some concurrent. If it returns no user, the usual files are used; an error ends the
	// request.
	Credentials   func(ctx context.Context, host string) (user, password string, err error)
	RegistryToken string // a bearer token, sent as it is
	CertDir       string // with *.crt, *.cert and *.key
	TLSVerify     *bool  // nil: registries.conf decides. False allows plain HTTP as well
	// Retries is how often a failed request is retried; less than 0 means never, 0 means
	// DefaultRetries.
	Retries int
	// Idle is how long a registry may be silent before a request counts as failed; 0 means DefaultIdle.
	Idle time.Duration
	// Delay is the wait before the first retry, which doubles with each further one; 0 means DefaultDelay. Even a busy registry
	// may be sent one request in that time.
	Delay time.Duration
	// Patience is how long a failed request is retried, at most, in addition to the bound by Retries; 0 means that only Retries
	// counts. It bounds the waits that a busy registry causes.
	Patience time.Duration
	// GiveUp is how long the registry may do nothing of a kind, reading or writing, because it is busy (429) or out of service
	// (503). After that, every request of that kind fails at once, with a *GivenUpError. 0 means that only Retries and Patience
	// bound each request. No request waits longer than that for such a registry.
	GiveUp time.Duration
	// Push requests the right to push from the start, if tokens say what is allowed. Otherwise the first push requests it.
	Push bool
	// Direct asks the registry alone, and none of the mirrors that registries.conf has for it: it is for reads that decide what
	// is written or deleted, as mirrors may be late. Push implies it, and reads where it writes.
	Direct bool
	// Shared says that others write to the repository at the same time, or have done so before: then it is asked for every
	// blob, even if nothing in it has a tag.
	Shared bool
	// Hosts is what repositories share; nil if this one shares nothing.
	Hosts *Hosts
	// Rate is the most requests per second to the registry; 0 means as many as it can bear. With Hosts, the first repository of
	// a registry sets it for all.
	Rate float64
	// OnEvent is told of retried requests (layout.EventRetry), from several goroutines at once.
	OnEvent layout.Handler
	// UserAgent is what the registry's log shows.
	UserAgent string
}

// Defaults of Options.
const (
	DefaultRetries = 3
	DefaultIdle    = 2 * time.Minute
	DefaultGiveUp  = 5 * time.Minute // the command's; Options.GiveUp has no default
	DefaultDelay   = time.Second

	// maxDelay bounds the wait between two tries.
	maxDelay = 30 * time.Second
)

func (o Options) retries() int {
	switch {
	case o.Retries < 0:
		return 0
	case o.Retries == 0:
		return DefaultRetries
	default:
		return o.Retries
	}
}

func (o Options) idle() time.Duration {
	if o.Idle > 0 {
		return o.Idle
	}
	return DefaultIdle
}

func (o Options) delay() time.Duration {
	if o.Delay > 0 {
		return o.Delay
	}
	return DefaultDelay
}

// system translates the options for containers/image.
func (o Options) system() (*types.SystemContext, error) {
	sys := &types.SystemContext{
		DockerBearerRegistryToken:         o.RegistryToken,
		DockerCertPath:                    o.CertDir,
		DockerRegistryUserAgent:           o.UserAgent,
		DockerDisableDestSchema1MIMETypes: true,
	}
	// This reads CONTAINERS_REGISTRIES_CONF, which the library leaves to programs.
	if err := environment.UpdateRegistriesConf(sys); err != nil {
		return nil, fmt.Errorf("registries.conf: %w", err)
	}
	if o.TLSVerify != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*o.TLSVerify)
	}
	if o.AuthFile != "" {
		if err := CheckAuthFile(o.AuthFile); err != nil {
			return nil, fmt.Errorf("authentication file: %w", err)
		}
		sys.AuthFilePath = o.AuthFile
	}
	if o.CertDir != "" {
		if err := CheckCertDir(o.CertDir); err != nil {
			return nil, fmt.Errorf("certificate directory: %w", err)
		}
	}
	if o.Creds != "" {
		user, password, _ := strings.Cut(o.Creds, ":")
		if user == "" {
			return nil, errNoUser
		}
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: user, Password: password}
	}
	return sys, nil
}

// CheckAuthFile returns why a file with credentials can't be read. The library treats a missing file like one without
// credentials.
func CheckAuthFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() && !info.IsDir() { // a pipe, which can be read only once
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = &fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
	}
	return errors.Join(err, file.Close())
}

// CheckCertDir returns why a directory with certificates can't be read.
func CheckCertDir(path string) error {
	_, err := os.ReadDir(path)
	return err
}
