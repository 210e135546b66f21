package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/types"
)

// AuthError says that a registry did not let us in, or did not let us do what we wanted.
type AuthError struct {
	Host   string
	Status int // 401 or 403
	// User is the user that we gave, "" if we had no credentials, or only a token.
	User string
	// From is where the credentials are from: a file, or a description of the options; "" if there were none.
	From string
	// CredsStore is the credential store that Docker's configuration names for all registries, if it does. The
	// library does not ask it.
	CredsStore string
	// Insecure says that plain HTTP and any certificate were allowed. Programs that log in must be told that, too.
	Insecure bool
	Err      error
}

func (e *AuthError) Error() string {
	switch {
	case e.From == "":
		return fmt.Sprintf("%v (no credentials for %s were given or found)", e.Err, e.Host)
	case e.User == "":
		return fmt.Sprintf("%v (what was sent is %s)", e.Err, e.From)
	default:
		return fmt.Sprintf("%v (what was sent are the user %q and the password, from %s)", e.Err, e.User, e.From)
	}
}

// Unwrap returns the cause.
func (e *AuthError) Unwrap() error { return e.Err }

// NextStep says what probably helps.
func (e *AuthError) NextStep() string {
	switch {
	case e.CredsStore != "":
		return fmt.Sprintf("Docker keeps its credentials in the store %q, which ocicache does not read; set it for this registry with "+
			`"credHelpers": {%q: %q}, or use --creds or --authfile`, e.CredsStore, e.Host, e.CredsStore)
	case e.User != "" && e.Status == http.StatusUnauthorized:
		return "the user or password is wrong or has expired; log in again with " + e.logins() + ", or use --creds or --authfile"
	case e.Status == http.StatusForbidden && e.From != "":
		return "the login works, but this user isn't allowed to do that; ask the registry's administrator"
	default:
		return "log in with " + e.logins() + ", or use --creds, --authfile or --registry-token"
	}
}

// logins names programs that log in. Docker has no flag for registries without TLS; they stand in its daemon's configuration.
func (e *AuthError) logins() string {
	if e.Insecure {
		return fmt.Sprintf("'skopeo login --tls-verify=false %[1]s' or 'podman login --tls-verify=false %[1]s'", e.Host)
	}
	return "'skopeo login', 'podman login' or 'docker login'"
}

// wrap adds to an error what was being done to which repository, and by way of which host.
func (r *Repository) wrap(what string, h *host, err error) error {
	err = &requestError{repository: r.String(), host: r.Host(), what: what, answered: h.answered.Load(), err: err}
	if status := httpStatus(err); status == http.StatusUnauthorized || status == http.StatusForbidden {
		user, from := r.credentials()
		return &AuthError{Host: r.Host(), Status: status, User: user, From: from, CredsStore: credsStore(), Insecure: h.insecure, Err: err}
	}
	return err
}

// session returns the library's context, with what Options.Credentials returns, if any.
func (r *Repository) session(ctx context.Context) (*types.SystemContext, error) {
	if r.options.Credentials == nil || r.sys.DockerAuthConfig != nil {
		return r.sys, nil
	}
	user, password, err := r.options.Credentials(ctx, r.Host())
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", r.Host(), err)
	}
	if user == "" {
		return r.sys, nil
	}
	r.user.Store(&user)
	sys := *r.sys
	sys.DockerAuthConfig = &types.DockerAuthConfig{Username: user, Password: password}
	return &sys, nil
}

// fromOptions is where credentials are from that are not in a file.
const fromOptions = "the options given"

// credentials returns the user that we gave to the registry, and where the credentials are from. It is for a message, so what
// can't be read counts as none.
func (r *Repository) credentials() (user, from string) {
	if r.options.RegistryToken != "" {
		return "", "the bearer token given"
	}
	if given := r.sys.DockerAuthConfig; given != nil {
		return given.Username, fromOptions
	}
	if asked := r.user.Load(); asked != nil {
		return *asked, fromOptions
	}
	found, err := config.GetCredentialsForRef(r.sys, r.name)
	if err != nil || found == (types.DockerAuthConfig{}) {
		return "", ""
	}
	for _, file := range authFiles(r.sys) {
		one, err := config.GetCredentialsForRef(file, r.name)
		if err == nil && one == found {
			return found.Username, cmp.Or(file.AuthFilePath, file.LegacyFormatAuthFilePath)
		}
	}
	return found.Username, "a credential helper"
}

// authFiles returns the files in which the library looks for credentials, in its order, each as a context that has only that
// file.
func authFiles(sys *types.SystemContext) []*types.SystemContext {
	if sys.AuthFilePath != "" {
		return []*types.SystemContext{{AuthFilePath: sys.AuthFilePath}}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	runtime, docker := os.Getenv("XDG_RUNTIME_DIR"), os.Getenv("DOCKER_CONFIG")
	if runtime == "" {
		runtime = fmt.Sprintf("/run/containers/%d", os.Getuid())
	} else {
		runtime = filepath.Join(runtime, "containers")
	}
	configs := cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config"))
	return []*types.SystemContext{
		{AuthFilePath: filepath.Join(runtime, "auth.json")},
		{AuthFilePath: filepath.Join(configs, "containers", "auth.json")},
		{AuthFilePath: filepath.Join(cmp.Or(docker, filepath.Join(home, ".docker")), "config.json")},
		{LegacyFormatAuthFilePath: filepath.Join(home, ".dockercfg")},
	}
}

// credsStore returns the credential store of Docker's configuration, or "". It is for a hint, so what can't be read
// counts as none.
func credsStore() string {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".docker")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return ""
	}
	var config struct {
		CredsStore string `json:"credsStore"`
	}
	if json.Unmarshal(raw, &config) != nil {
		return ""
	}
	return config.CredsStore
}
