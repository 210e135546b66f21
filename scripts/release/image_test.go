//go:build release

package release

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// startRegistry runs docker-registry for the time of a test, and returns its host and port.
func startRegistry(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", dir, host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, and says so
	})
	for range 600 {
		response, err := http.Get("http://" + host + "/v2/")
		if err == nil {
			_ = response.Body.Close()
			return host
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("docker-registry does not answer")
	return ""
}

// image is as much of an image's config as it takes to run it.
type image struct {
	Config struct {
		User       string
		Entrypoint []string
		Env        []string
		WorkingDir string
	} `json:"config"`
}

// TestImage pushes the image to a registry, pulls it from there, and lets it do its work as in a cluster: without any rights, on a
// file system that can't be written to, but for /tmp.
func TestImage(t *testing.T) {
	t.Parallel()
	need(t, "skopeo", "docker-registry", "runc")
	host := startRegistry(t)
	pushed := "docker://" + host + "/tools/ocicache:test"
	run(t, nil, "skopeo", "copy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci-archive:"+made(t, "image.tar"), pushed)
	pulled := t.TempDir()
	run(t, nil, "skopeo", "copy", "--src-tls-verify=false", pushed, "oci:"+pulled+":test")

	bundle, img := unpackImage(t, pulled)
	if said := runContainer(t, bundle, img, "version"); !strings.HasPrefix(said, "ocicache ") || !strings.Contains(said, "linux/"+runtime.GOARCH) {
		t.Errorf("it says %q", said)
	}
	cache := "docker://" + host + "/team/cache"
	run(t, nil, program(t), "copy", repository+"/testdata/caches/docker-list-gzip", cache+":main", "--dest-tls-verify=false")
	runContainer(t, bundle, img, "convert", cache+":main", cache+":small", "--to", "artifact", "--compression", "zstd",
		"--src-tls-verify=false", "--dest-tls-verify=false")
	if said := runContainer(t, bundle, img, "inspect", cache+":small", "--tls-verify=false"); !strings.Contains(said, "artifact") || !strings.Contains(said, "zstd") {
		t.Errorf("it says %q", said)
	}
}

// unpackImage unpacks the one image of a layout, as a directory with rootfs, and returns its config.
func unpackImage(t *testing.T, layout string) (string, image) {
	t.Helper()
	type descriptor struct{ Digest string }
	blob := func(d descriptor) string {
		return filepath.Join(layout, "blobs", strings.ReplaceAll(d.Digest, ":", "/"))
	}
	read := func(path string, into any) {
		raw, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var index struct{ Manifests []descriptor }
	if read(filepath.Join(layout, "index.json"), &index); len(index.Manifests) != 1 {
		t.Fatalf("%+v", index)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	read(blob(index.Manifests[0]), &manifest)
	var img image
	read(blob(manifest.Config), &img)

	bundle := t.TempDir()
	for _, dir := range []string{bundle, filepath.Dir(bundle)} { // who runs in it is nobody here
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, layer := range manifest.Layers {
		for name, e := range untar(t, open(t, blob(layer))) {
			e.write(t, filepath.Join(bundle, "rootfs"), name)
		}
	}
	return bundle, img
}

// runContainer runs the image with arguments, and returns what it says.
func runContainer(t *testing.T, bundle string, img image, args ...string) string {
	t.Helper()
	var uid, gid int
	if _, err := fmt.Sscanf(img.Config.User, "%d:%d", &uid, &gid); err != nil || uid == 0 {
		t.Fatalf("the user is %q", img.Config.User)
	}
	type object = map[string]any
	raw, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"process": object{
			"user": object{"uid": uid, "gid": gid}, "args": append(img.Config.Entrypoint, args...), "env": img.Config.Env,
			"cwd": img.Config.WorkingDir, "noNewPrivileges": true, "capabilities": object{},
		},
		"root": object{"path": "rootfs", "readonly": true},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "nodev", "mode=1777"}},
		},
		"linux": object{"namespaces": []object{{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}}}, // and this network
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, "config.json"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("ocicache-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	return run(t, nil, "runc", "--root", t.TempDir(), "run", "--bundle", bundle, name)
}
