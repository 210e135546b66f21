package registry

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
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
