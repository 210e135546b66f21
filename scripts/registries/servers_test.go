package registries

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // the authentication that distribution configures
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the driver that distribution configures
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// settings are those of a distribution. The zero value is how it comes.
type settings struct {
	platformsNone  bool // validation.manifests.indexes.platforms: none
	readOnly       bool
	classes        []string
	user, password string
}

// distribution starts distribution 3 and returns its host.
func distribution(t *testing.T, s settings) string {
	t.Helper()
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": t.TempDir()},
			"delete":     {"enabled": true},
			"maintenance": {
				"uploadpurging": map[any]any{"enabled": false},
				"readonly":      map[any]any{"enabled": s.readOnly},
			},
		},
		Catalog: configuration.Catalog{MaxEntries: 1000},
		Tags:    configuration.Tags{MaxTags: 1000},
	}
	config.HTTP.Secret = "a secret of these tests"
	config.Policy.Repository.Classes = s.classes
	if s.platformsNone {
		config.Validation.Manifests.Indexes.Platforms = "none"
	}
	if s.user != "" {
		config.Auth = configuration.Auth{"htpasswd": {"realm": "registries", "path": passwordFile(t, s.user, s.password)}}
	}
	app := handlers.NewApp(t.Context(), config)
	t.Cleanup(func() {
		if err := app.Shutdown(); err != nil {
			t.Errorf("end the registry: %v", err)
		}
	})
	server := httptest.NewUnstartedServer(app)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func passwordFile(t *testing.T, user, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, fmt.Appendf(nil, "%s:%s\n", user, hash), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dockerRegistry runs Debian's docker-registry for the time of a test and returns its host.
func dockerRegistry(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip("SKIPPED, NOTHING IS PROVED: docker-registry is not on the PATH: scripts/e2e-setup.sh --install gets it")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, dir := listener.Addr().String(), t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %s}\n", filepath.Join(dir, "data"), host)
	if err := errors.Join(listener.Close(), os.WriteFile(config, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	program := exec.Command("docker-registry", "serve", config)
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := program.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = program.Wait() // it was killed, and says so
	})
	for range 200 {
		response, err := http.Get("http://" + host + "/v2/")
		if err == nil {
			_ = response.Body.Close() // nobody reads it
			return host
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("docker-registry does not answer")
	return ""
}
