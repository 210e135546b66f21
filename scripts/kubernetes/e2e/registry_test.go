//go:build e2e && linux

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// login is who may use a registry.
type login struct{ user, password string }

// passwords is the htpasswd file of the login of these tests: "migrate", with "the password of the shards".
const passwords = "migrate:$2a$04$lHUxN2f1rtH30vha7mHGMeWU.nThMhL34lNrBp4KHSD5PAt.c30Xq\n"

// registry is Debian's docker-registry on the loopback interface, without TLS.
type registry struct {
	host  string
	login *login
}

// startRegistry runs a registry for the time of a test.
func startRegistry(t *testing.T, l *login) registry {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := registry{listener.Addr().String(), l}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nhttp: {addr: %s}\n"+
		"storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\n", r.host, filepath.Join(dir, "data"))
	if l != nil {
		text += fmt.Sprintf("auth: {htpasswd: {realm: e2e, path: %s}}\n", filepath.Join(dir, "htpasswd"))
		write(t, filepath.Join(dir, "htpasswd"), passwords)
	}
	config := filepath.Join(dir, "config.yml")
	write(t, config, text)
	server := exec.Command("docker-registry", "serve", config)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = server.Wait() // it was killed, and says so
	})
	eventually(t, 20*time.Second, "docker-registry answers", func() error {
		_, err := r.get(t, "/v2/")
		return err
	})
	return r
}

// get asks for the headers of what is at a path.
func (r registry) get(t *testing.T, path string) (http.Header, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.host+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	if r.login != nil {
		request.SetBasicAuth(r.login.user, r.login.password)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, response.Status)
	}
	return response.Header, nil
}

// flags are those of ocicache for a cache in the registry.
func (r registry) flags() []string {
	flags := []string{"--tls-verify=false"}
	if r.login != nil {
		flags = append(flags, "--creds", r.login.user+":"+r.login.password)
	}
	return flags
}

// fill gives the source caches, and finds out what is to become of them: what convert makes of them where no registry is involved.
func (b *bed) fill(t *testing.T, ocicache string) {
	t.Helper()
	b.want = map[string]string{}
	var plan strings.Builder
	fmt.Fprintf(&plan, "version: 1\nregistries: {%q: {tls_verify: false}}\nmigrations:\n", b.source.host)
	for _, name := range []string{
		"artifact-estargz", "artifact-gzip", "artifact-gzip-level9", "artifact-mixed-gzip-zstd", "artifact-uncompressed", "artifact-zstd",
		"docker-list-gzip", "merge-small2-fresh", "multi-platform", "oci-index-gzip", "oci-index-zstd", "v0.11.6-docker-list",
	} {
		dir := filepath.Join(root, "testdata", "caches", name)
		root := convert(t, ocicache, dir)
		for _, team := range []string{"app", "web", "data", "tools"} {
			fmt.Fprintf(&plan, "  - {source: %q, target: 'docker://%s/%s/{repository}'}\n", dir, b.source.host, team)
			repository := team + "/" + name
			b.caches, b.want[repository] = append(b.caches, repository), root
		}
	}
	file := filepath.Join(t.TempDir(), "plan.yaml")
	write(t, file, plan.String())
	run(t, ocicache, "migrate", "run", file, "--json", "--progress", "none")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
