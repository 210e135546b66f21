//go:build linux

package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// pauseImage is the image of program pause, which containerd needs in addition to those of the pods.
const pauseImage = "localhost/pause"

// node is a machine of the cluster: a namespace with containerd and a kubelet.
type node struct {
	*namespace
	name, dir  string
	kubeletRun []string // its command line
}

// nodeOptions are what a node needs to know about its cluster.
type nodeOptions struct {
	dir, logs, cgroup   string
	kubeconfig, ca      string
	cert, key           string
	kubeletPort, health int
	hosts               string
}

// newNode makes a node without starting its kubelet.
func newNode(name string, o nodeOptions) (*node, error) {
	n := &node{name: name, dir: o.dir}
	for _, dir := range []string{"pods", "kubelet", "cni", "opt", "containerd"} {
		if err := os.MkdirAll(n.path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	// Without a network a node is never ready. Pods on the host's network don't use it.
	network := map[string]any{"cniVersion": "1.0.0", "name": "none", "plugins": []any{map[string]any{"type": "loopback"}}}
	if err := errors.Join(writeJSON(n.path("cni/10-none.conflist"), network), os.WriteFile(n.path("containerd.toml"), n.containerdConfig(), 0o600),
		writeJSON(n.path("kubelet.json"), n.kubeletConfig(o))); err != nil {
		return nil, err
	}
	n.kubeletRun = []string{
		"kubelet", "--config=" + n.path("kubelet.json"), "--kubeconfig=" + o.kubeconfig, "--hostname-override=" + name,
		"--root-dir=" + n.path("kubelet"), "--cert-dir=" + n.path("kubelet/pki"),
	}
	var err error
	if n.namespace, err = newNamespace(o.logs); err != nil {
		return nil, err
	}
	return n, errors.Join(n.hideHost(o.hosts), n.start("containerd", "containerd", "--config", n.path("containerd.toml")))
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

// hidden are host directories that each node replaces with empty ones of its own: programs have fixed paths there.
var hidden = []string{"/run", "/var/lib", "/var/log"}

// checkVisible fails if nodes can't see a path.
func checkVisible(paths ...string) error {
	for _, path := range paths {
		for _, dir := range hidden {
			if inside, err := filepath.Rel(dir, path); err != nil || filepath.IsLocal(inside) {
				return fmt.Errorf("%s: nodes have a %s of their own, and can't see it", path, dir)
			}
		}
	}
	return nil
}

// hideHost keeps the node from leaving anything on the host: some directories are its own, and kernel settings, which are shared, appear to
// have the values that the kubelet would set.
func (n *node) hideHost(hosts string) error {
	mounts := []Mount{
		{Target: "/", Flags: syscall.MS_REC | syscall.MS_SHARED}, // among the node's processes
		{Source: hosts, Target: "/etc/hosts", Flags: syscall.MS_BIND},
	}
	for _, dir := range hidden {
		mounts = append(mounts, Mount{Source: "tmpfs", Target: dir, Type: "tmpfs", Data: "mode=755"})
	}
	if err := n.ask("Mount", mounts); err != nil {
		return err
	}
	return n.ask("Hide", map[string]string{
		"/proc/sys/vm/overcommit_memory":      "1",
		"/proc/sys/vm/panic_on_oom":           "0",
		"/proc/sys/kernel/panic":              "10",
		"/proc/sys/kernel/panic_on_oops":      "1",
		"/proc/sys/kernel/keys/root_maxkeys":  "1000000",
		"/proc/sys/kernel/keys/root_maxbytes": "25000000",
	})
}

// containerdConfig keeps containerd in the node's directory, on any file system: it needs no overlays. It accepts a kernel that refuses to
// protect containers from running out of memory.
func (n *node) containerdConfig() []byte {
	return fmt.Appendf(nil, `version = 3
root = %q
state = "/run/containerd"
imports = []
disabled_plugins = ["io.containerd.nri.v1.nri"]
[plugins."io.containerd.internal.v1.opt"]
path = %q
[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "%s:%s"
[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = [%q]
conf_dir = %q
use_internal_loopback = true
`, n.path("containerd"), n.path("opt"), pauseImage, imageTag, n.path("cni"), n.path("cni"))
}

// kubeletConfig makes the kubelet report often, on the loopback interface, and never evict pods because of the host's disk.
func (n *node) kubeletConfig(o nodeOptions) map[string]any {
	return map[string]any{
		"apiVersion":                "kubelet.config.k8s.io/v1beta1",
		"kind":                      "KubeletConfiguration",
		"address":                   "127.0.0.1",
		"port":                      o.kubeletPort,
		"healthzBindAddress":        "127.0.0.1",
		"healthzPort":               o.health,
		"tlsCertFile":               o.cert,
		"tlsPrivateKeyFile":         o.key,
		"containerRuntimeEndpoint":  "unix:///run/containerd/containerd.sock",
		"cgroupDriver":              "cgroupfs",
		"cgroupRoot":                "/" + o.cgroup,
		"failCgroupV1":              false,
		"failSwapOn":                false,
		"makeIPTablesUtilChains":    false,
		"oomScoreAdj":               0,
		"podLogsDir":                n.path("pods"),
		"resolvConf":                "",
		"volumePluginDir":           n.path("plugins"),
		"nodeStatusUpdateFrequency": "2s",
		"nodeLeaseDurationSeconds":  16,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": o.ca},
		},
		"authorization":               map[string]any{"mode": "Webhook"},
		"imageGCHighThresholdPercent": 100,
		"imageGCLowThresholdPercent":  99,
		"evictionHard": map[string]any{
			"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
	}
}

// load imports an image, the only one in an OCI layout, into containerd.
func (n *node) load(name, layout string) error {
	archive := n.path("image.tar")
	if err := pack(layout, archive); err != nil {
		return fmt.Errorf("pack %s: %w", layout, err)
	}
	return n.ask("Run", Program{Name: "ctr", Line: []string{"ctr", "-n", "k8s.io", "images", "import", "--local", "--snapshotter", "native", "--base-name", name, "-"}, Stdin: archive})
}

func pack(dir, archive string) error {
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	w := tar.NewWriter(file)
	return errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), file.Close())
}

func (n *node) startKubelet() error { return n.start("kubelet", n.kubeletRun...) }

func (n *node) stopKubelet() error { return n.ask("Kill", "kubelet") }
