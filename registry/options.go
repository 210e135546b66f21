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

// Options say how to talk to a registry. The zero value does as skopeo and podman do without flags: credentials from
// their files and Docker's, TLS verified unless registries.conf says otherwise.
type Options struct {
	AuthFile string // instead of the usual files; it must exist
	Creds    string // user:password, or a user name alone
	// Credentials returns who we are at a host, host[:port], where Creds does not say. It is asked for every new session,
	// of which a job has many, some at once. Without a user the usual files are asked; an error ends the request.
	Credentials   func(ctx context.Context, host string) (user, password string, err error)
	RegistryToken string // a bearer token, as it is
	CertDir       string // with *.crt, *.cert and *.key
	TLSVerify     *bool  // nil: registries.conf decides. False allows plain HTTP as well
	// Retries is how often a request is tried again after the first time; less than 0 means never, 0 means
	// DefaultRetries.
	Retries int
	// Idle is how long a registry may be silent before a request counts as failed; 0 means DefaultIdle.
	Idle time.Duration
	// Delay is the wait before the first retry, which then doubles; 0 means DefaultDelay. A registry that had enough of requests
	// is asked for one in such a time at least.
	Delay time.Duration
	// Patience is how long a request that failed is tried again, at most, besides what Retries say; 0 means that they alone do. It bounds
	// the waits that a registry causes which has enough of requests.
	Patience time.Duration
	// GiveUp is how long the registry may do nothing of a kind, reading or writing, as it has enough of requests (429) or is out of service
	// (503): then whatever is asked of it fails at once, with a *GivenUpError. 0 means that only Retries and Patience bound each request. No
	// request waits for longer for such a registry.
	GiveUp time.Duration
	// Push asks for the right to push from the start, where tokens say what is allowed. Else that is asked for with the first push.
	Push bool
	// Direct asks the registry alone, and none of the mirrors that registries.conf has for it: what is read decides what is written or
	// deleted, and mirrors may be late. So it is with Push, which reads where it writes.
	Direct bool
	// Shared says that others write to the repository at the same time, or have before: then it is asked for every blob, even
	// where nothing in it has a tag.
	Shared bool
	// Hosts is what repositories share; nil for a repository of its own.
	Hosts *Hosts
	// Rate is how many requests a second the registry is asked at most; 0 means as many as it bears. With Hosts, the first
	// repository of a registry says it for all.
	Rate float64
	// OnEvent hears of requests that are made again (layout.EventRetry), from several goroutines at once.
	OnEvent layout.Handler
	// UserAgent is what the registry's log shows.
	UserAgent string
}

// What Options mean when they do not say.
const (
	DefaultRetries = 3
	DefaultIdle    = 2 * time.Minute
	DefaultGiveUp  = 5 * time.Minute // of the command; Options.GiveUp has none
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
	// CONTAINERS_REGISTRIES_CONF, which the library leaves to the programs.
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

// CheckAuthFile says why a file with credentials can't be read. The library takes one that is not there for one without credentials.
func CheckAuthFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() && !info.IsDir() { // a pipe, which may be read once
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

// CheckCertDir says why a directory with certificates can't be read.
func CheckCertDir(path string) error {
	_, err := os.ReadDir(path)
	return err
}
