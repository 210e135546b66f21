package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/types"
)

// AuthError says that a registry did not let us in, or not do what we wanted.
type AuthError struct {
	Host   string
	Status int // 401 or 403
	// CredsStore is the credential store that Docker's configuration names for all registries, if it does. The
	// library does not ask it.
	CredsStore string
	Err        error
}

func (e *AuthError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *AuthError) Unwrap() error { return e.Err }

// wrap says what was being done to which repository.
func (r *Repository) wrap(what string, err error) error {
	err = &requestError{repository: r.String(), what: what, err: err}
	if status := httpStatus(err); status == http.StatusUnauthorized || status == http.StatusForbidden {
		return &AuthError{Host: r.Host(), Status: status, CredsStore: credsStore(), Err: err}
	}
	return err
}

// session returns what the library has to know before it talks to the registry.
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
	sys := *r.sys
	sys.DockerAuthConfig = &types.DockerAuthConfig{Username: user, Password: password}
	return &sys, nil
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
