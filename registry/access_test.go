package registry_test

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/registry"
)

// authFile writes credentials as skopeo, podman and docker keep them.
func authFile(t *testing.T, path, host, user, password string) string {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// push brings a cache to a server, and says how that went.
func push(t *testing.T, server *registrytest.Server, o registry.Options) error {
	t.Helper()
	src, entry := fixture(t, "artifact-gzip")
	_, err := convert.Convert(t.Context(), src, entry, repository(t, server, "cache", o), "main", convert.Options{})
	return err
}

// Credentials come from where users of skopeo, podman and docker have them.
func TestCredentials(t *testing.T) {
	server := registrytest.New(t, registrytest.Options{User: "ann", Password: "secret"})
	for name, options := range map[string]func(t *testing.T, o *registry.Options){
		"--creds": func(_ *testing.T, o *registry.Options) { o.Creds = "ann:secret" },
		"--authfile": func(t *testing.T, o *registry.Options) {
			o.AuthFile = authFile(t, filepath.Join(t.TempDir(), "auth.json"), server.Host, "ann", "secret")
		},
		"callback": func(t *testing.T, o *registry.Options) {
			o.Credentials = func(_ context.Context, host string) (string, string, error) {
				if host != server.Host {
					t.Errorf("asked for %s", host)
				}
				return "ann", "secret", nil
			}
		},
		"--creds before a callback": func(t *testing.T, o *registry.Options) {
			o.Creds = "ann:secret"
			o.Credentials = func(context.Context, string) (string, string, error) {
				t.Error("asked")
				return "", "", nil
			}
		},
		"--authfile after a callback": func(t *testing.T, o *registry.Options) {
			o.AuthFile = authFile(t, filepath.Join(t.TempDir(), "auth.json"), server.Host, "ann", "secret")
			o.Credentials = func(context.Context, string) (string, string, error) { return "", "", nil }
		},
		"DOCKER_CONFIG": func(t *testing.T, _ *registry.Options) {
			dir := t.TempDir()
			t.Setenv("HOME", dir)
			t.Setenv("DOCKER_CONFIG", dir)
			authFile(t, filepath.Join(dir, "config.json"), server.Host, "ann", "secret")
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := quick(server)
			options(t, &o)
			if err := push(t, server, o); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("credential helper", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("HOME", dir)
		t.Setenv("DOCKER_CONFIG", dir)
		t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
		helper := "#!/bin/sh\necho '{\"Username\":\"ann\",\"Secret\":\"secret\"}'\n"
		config := fmt.Sprintf(`{"credHelpers":{%q:"sample"}}`, server.Host)
		if err := errors.Join(
			os.WriteFile(filepath.Join(dir, "docker-credential-sample"), []byte(helper), 0o755), //nolint:gosec // a program
			os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600),
		); err != nil {
			t.Fatal(err)
		}
		if err := push(t, server, quick(server)); err != nil {
			t.Error(err)
		}
	})
	t.Run("callback that fails", func(t *testing.T) {
		o, locked, asked := quick(server), errors.New("the keyring is locked"), 0
		o.Credentials = func(context.Context, string) (string, string, error) {
			asked++
			return "", "", locked
		}
		if err := push(t, server, o); !errors.Is(err, locked) || asked != 1 {
			t.Errorf("asked %d times: %v", asked, err)
		}
	})
	t.Run("no such authfile", func(t *testing.T) {
		o := quick(server)
		o.AuthFile = filepath.Join(t.TempDir(), "missing.json")
		if _, err := registry.Open(server.Host+"/cache", o); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("only a credential store", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("HOME", dir)
		t.Setenv("DOCKER_CONFIG", dir)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"credsStore":"desktop"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		var auth *registry.AuthError
		if err := push(t, server, quick(server)); !errors.As(err, &auth) || auth.CredsStore != "desktop" {
			t.Errorf("got %v", err)
		}
	})
}

// What was refused is told apart: no credentials, or which, and where they are from. Passwords are not shown.
func TestRefusedCredentials(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"} {
		t.Setenv(name, dir) // the home directory, the library asks for once
	}
	if err := os.Mkdir(filepath.Join(dir, "containers"), 0o700); err != nil {
		t.Fatal(err)
	}
	file, docker, podman := filepath.Join(dir, "mine.json"), filepath.Join(dir, "config.json"), filepath.Join(dir, "containers", "auth.json")
	for _, token := range []bool{false, true} {
		server := registrytest.New(t, registrytest.Options{User: "ann", Password: "secret", Token: token})
		for _, test := range []struct {
			name, user, from string
			change           func(o *registry.Options)
		}{
			{name: "none"},
			{"given", "bob", "the options given", func(o *registry.Options) { o.Creds = "bob:hunter2" }},
			{"by a callback", "bob", "the options given", func(o *registry.Options) {
				o.Credentials = func(context.Context, string) (string, string, error) { return "bob", "hunter2", nil }
			}},
			{"in a file that is named", "eve", file, func(o *registry.Options) { o.AuthFile = authFile(t, file, server.Host, "eve", "hunter2") }},
			{"a token", "", "the bearer token given", func(o *registry.Options) { o.RegistryToken = "hunter2" }},
			{"in Docker's file", "eve", docker, func(*registry.Options) { authFile(t, docker, server.Host, "eve", "hunter2") }},
			{"in podman's file before Docker's", "amy", podman, func(*registry.Options) { authFile(t, podman, server.Host, "amy", "hunter2") }},
		} {
			if test.from == "the bearer token given" && !token {
				continue
			}
			o := quick(server)
			if test.change != nil {
				test.change(&o)
			}
			err := push(t, server, o)
			var auth *registry.AuthError
			if !errors.As(err, &auth) || auth.Host != server.Host || auth.Status != http.StatusUnauthorized || auth.User != test.user || auth.From != test.from {
				t.Errorf("%s, tokens %v: got %v (%+v)", test.name, token, err, auth)
				continue
			}
			for _, word := range []string{test.user, cmp.Or(test.from, "no credentials")} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: no %q in %v", test.name, word, err)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: the password is shown: %v", test.name, err)
			}
		}
		if err := errors.Join(os.Remove(docker), os.Remove(podman)); err != nil {
			t.Fatal(err)
		}
	}
}

// A bearer token is used as it is.
func TestRegistryToken(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{User: "ann", Password: "secret", Token: true})
	o := quick(server)
	for what, token := range map[string]string{
		"unknown": "not-a-token", "for reading": server.Token("cache", "pull"), "for another": server.Token("other", "pull", "push"),
	} {
		o.RegistryToken = token
		var auth *registry.AuthError
		if err := push(t, server, o); !errors.As(err, &auth) || strings.Contains(err.Error(), token) {
			t.Errorf("a token %s: %v", what, err)
		}
	}
	o.RegistryToken = server.Token("cache", "pull", "push")
	if err := push(t, server, o); err != nil {
		t.Errorf("a token for this: %v", err)
	}
	if n := server.TokenRequests(); n != 0 {
		t.Errorf("%d tokens were asked for although there was one", n)
	}
}

// Certificates are verified, against the authorities of --cert-dir too; plain HTTP is not taken for HTTPS.
func TestTrust(t *testing.T) {
	t.Parallel()
	secure := registrytest.New(t, registrytest.Options{TLS: true})
	verify := true
	o := registry.Options{TLSVerify: &verify, CertDir: secure.CertDir, Delay: time.Millisecond}
	if err := push(t, secure, o); err != nil {
		t.Errorf("with the authority's certificate: %v", err)
	}
	o.CertDir = t.TempDir()
	var unknown x509.UnknownAuthorityError
	if err := push(t, secure, o); !errors.As(err, &unknown) {
		t.Errorf("without it: %v", err)
	}
	plain := registrytest.New(t, registrytest.Options{})
	if err := push(t, plain, o); !errors.Is(err, http.ErrSchemeMismatch) {
		t.Errorf("plain HTTP: %v", err)
	}
}

// A registry that takes nothing says so, and a tag that can't be changed is fine as long as it need not be.
func TestReadOnlyAndImmutable(t *testing.T) {
	t.Parallel()
	readOnly := registrytest.New(t, registrytest.Options{ReadOnly: true})
	var refused *registry.RefusedError
	if err := push(t, readOnly, quick(readOnly)); !errors.As(err, &refused) {
		t.Errorf("read-only: %v", err)
	}
	immutable := registrytest.New(t, registrytest.Options{Strict: registrytest.ECRImmutable})
	for range 2 {
		if err := push(t, immutable, quick(immutable)); err != nil {
			t.Errorf("the same again: %v", err)
		}
	}
	other, entry := fixture(t, "artifact-zstd")
	_, err := convert.Convert(t.Context(), other, entry, repository(t, immutable, "cache", quick(immutable)), "main", convert.Options{})
	if !errors.As(err, &refused) || refused.IsAboutForm() {
		t.Errorf("another cache: %v", err)
	}
}
