//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startRegistry runs Debian's docker-registry (distribution 2.8.2) for the time of a test and returns its host and
// port. It serves plain HTTP on the loopback interface, and keeps what it gets in a temporary directory.
func startRegistry(t *testing.T) string {
	t.Helper()
	address := freeAddress(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %s}\n",
		filepath.Join(dir, "data"), address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatalf("run docker-registry: %v", err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed, and says so
	})
	if err := waitForRegistry(t, address); err != nil {
		t.Fatal(err)
	}
	return address
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func waitForRegistry(t *testing.T, address string) error {
	t.Helper()
	var last error
	for range 100 {
		response, err := http.Get("http://" + address + "/v2/")
		if err == nil {
			return response.Body.Close()
		}
		last = err
		time.Sleep(50 * time.Millisecond)
	}
	return errors.Join(errors.New("docker-registry does not answer"), last)
}

// needRegistry is needOcicache for the tests that run a registry as well.
func needRegistry(t *testing.T) {
	t.Helper()
	needOcicache(t)
	if _, err := exec.LookPath("docker-registry"); err == nil {
		return
	}
	const missing = "docker-registry is not on the PATH: scripts/e2e-setup.sh --install gets it"
	if os.Getenv("E2E") == "required" {
		t.Fatal("E2E=required, but " + missing)
	}
	t.Skip("SKIPPED, NOTHING IS PROVED: " + missing)
}

// registryCache names a cache in a registry for --import-cache and --export-cache.
func registryCache(ref string) string { return "type=registry,ref=" + ref }
