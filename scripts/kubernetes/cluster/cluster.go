//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// options describe a cluster.
type options struct {
	logs   string
	images []image // pause is one of them
	nodes  []string
}

// image is a container image in an OCI layout, where it has the tag imageTag.
type image struct{ name, layout string }

// imageTag is the tag of all images.
const imageTag = "e2e"

// cluster is a control plane and its nodes.
type cluster struct {
	options
	name      string // also that of its cgroups
	dir       string // for everything but the logs
	server    string // the apiserver's URL
	authority *authority
	api       *api
	control   *namespace
	nodes     []*node
}

// startCluster returns once pods can be made. Even a cluster that did not start has to be ended.
func startCluster(ctx context.Context, o options) (*cluster, error) {
	c := &cluster{options: o, name: ownName()}
	if err := removeStale(); err != nil {
		return c, err
	}
	dir := filepath.Join(os.TempDir(), c.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return c, err
	}
	c.dir = dir
	ports, err := freePorts(6 + 2*len(o.nodes))
	if err != nil {
		return c, err
	}
	if err := c.prepare(ports[0]); err != nil {
		return c, err
	}
	if err := c.startControl(ports[:6]); err != nil {
		return c, fmt.Errorf("start the control plane: %w", err)
	}
	for i, name := range o.nodes {
		if err := c.addNode(name, ports[6+2*i], ports[7+2*i]); err != nil {
			return c, fmt.Errorf("start %s: %w", name, err)
		}
	}
	return c, c.complete(ctx, ports[4], ports[5])
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }() // only once all are found, so that they differ
		if address, ok := listener.Addr().(*net.TCPAddr); ok {
			ports = append(ports, address.Port)
		}
	}
	return ports, nil
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

// prepare writes what the programs read.
func (c *cluster) prepare(port int) error {
	c.server = fmt.Sprintf("https://127.0.0.1:%d", port)
	if err := makeCgroups(c.name, c.options.nodes...); err != nil {
		return err
	}
	hosts := "127.0.0.1 localhost\n" // the apiserver addresses kubelets by name
	for _, name := range c.options.nodes {
		hosts += "127.0.0.1 " + name + "\n"
	}
	err := errors.Join(os.MkdirAll(c.logs, 0o755), os.Mkdir(c.path("pki"), 0o700), os.WriteFile(c.path("hosts"), []byte(hosts), 0o600))
	if err != nil {
		return err
	}
	if c.authority, err = newAuthority(c.path("pki")); err != nil {
		return err
	}
	if _, err = c.authority.kubeconfig("admin", c.server, "admin", "system:masters"); err != nil {
		return err
	}
	if c.api, err = newAPI(c.server, c.authority.path("ca.crt"), c.authority.path("admin.crt"), c.authority.path("admin.key")); err != nil {
		return err
	}
	return errors.Join(
		c.authority.issue("apiserver", "kube-apiserver", "", "localhost"),
		c.authority.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
		c.authority.issue("service-accounts", "service-accounts", ""),
	)
}

// startControl starts the apiserver, and etcd for it.
func (c *cluster) startControl(ports []int) error {
	var err error
	if c.control, err = newNamespace(c.logs); err != nil {
		return err
	}
	if err := c.control.ask("Mount", []Mount{{Source: c.path("hosts"), Target: "/etc/hosts", Flags: syscall.MS_BIND}}); err != nil {
		return err
	}
	etcd := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	peer := fmt.Sprintf("http://127.0.0.1:%d", ports[2])
	if err := c.control.start("etcd", "etcd", "--name=etcd", "--data-dir="+c.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=etcd="+peer); err != nil {
		return err
	}
	pki := c.authority.path
	return c.control.start("kube-apiserver", "kube-apiserver", "--etcd-servers="+etcd, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[0]),
		"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"), "--client-ca-file="+pki("ca.crt"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+pki("service-accounts.crt"),
		"--service-account-signing-key-file="+pki("service-accounts.key"),
		"--kubelet-client-certificate="+pki("kubelet-client.crt"), "--kubelet-client-key="+pki("kubelet-client.key"),
		"--kubelet-certificate-authority="+pki("ca.crt"), "--kubelet-preferred-address-types=Hostname",
		// A silent node is given up on within seconds, not minutes.
		"--default-not-ready-toleration-seconds=5", "--default-unreachable-toleration-seconds=5")
}

func (c *cluster) addNode(name string, port, health int) error {
	kubeconfig, err := c.authority.kubeconfig(name, c.server, "system:node:"+name, "system:nodes")
	if err != nil {
		return err
	}
	if err := c.authority.issue(name+"-server", name, "", name); err != nil {
		return err
	}
	logs := filepath.Join(c.logs, name)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	n, err := newNode(name, nodeOptions{
		dir: c.path(name), logs: logs, cgroup: filepath.Join(c.name, name), hosts: c.path("hosts"),
		kubeconfig: kubeconfig, ca: c.authority.path("ca.crt"), cert: c.authority.path(name + "-server.crt"), key: c.authority.path(name + "-server.key"),
		kubeletPort: port, health: health,
	})
	if n != nil && n.namespace != nil {
		c.nodes = append(c.nodes, n)
	}
	return err
}

// complete starts the rest once the apiserver is ready: sooner, each program would wait for seconds before trying again.
func (c *cluster) complete(ctx context.Context, controllers, scheduler int) error {
	for _, n := range c.nodes {
		if err := until(ctx, "containerd on "+n.name, func() error { return n.ask("Run", Program{Name: "ctr", Line: []string{"ctr", "version"}}) }); err != nil {
			return err
		}
		for _, i := range c.images {
			if err := n.load(i.name, i.layout); err != nil {
				return fmt.Errorf("give %s to %s: %w", i.name, n.name, err)
			}
		}
	}
	if err := until(ctx, "the apiserver", func() error { return c.api.get(ctx, "/readyz", nil) }); err != nil {
		return err
	}
	if err := c.startRest(controllers, scheduler); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if err := n.startKubelet(); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := until(ctx, n.name, func() error { return c.api.nodeReady(ctx, n.name) }); err != nil {
			return err
		}
	}
	return until(ctx, "service accounts", func() error { return c.api.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil) })
}

// startRest starts what uses the apiserver.
func (c *cluster) startRest(controllers, scheduler int) error {
	kubeconfig, err := c.authority.kubeconfig("controllers", c.server, "system:kube-controller-manager", "")
	if err != nil {
		return err
	}
	if err := c.control.start("kube-controller-manager", "kube-controller-manager", "--kubeconfig="+kubeconfig,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", controllers), "--leader-elect=false",
		"--kube-api-qps=500", "--kube-api-burst=1000", // otherwise its informers alone take five seconds
		"--use-service-account-credentials=true", // otherwise it may not make pods
		"--service-account-private-key-file="+c.authority.path("service-accounts.key"), "--root-ca-file="+c.authority.path("ca.crt"),
		"--flex-volume-plugin-dir="+c.path("flex"), "--node-monitor-period=1s",
		"--node-monitor-grace-period=20s"); err != nil { // a busy machine does not make a node silent
		return err
	}
	if kubeconfig, err = c.authority.kubeconfig("scheduler", c.server, "system:kube-scheduler", ""); err != nil {
		return err
	}
	return c.control.start("kube-scheduler", "kube-scheduler", "--kubeconfig="+kubeconfig, "--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", scheduler), "--leader-elect=false")
}

// until tries again until something succeeds, for up to two minutes.
func until(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// do carries out a line of standard input.
func (c *cluster) do(what, which string) error {
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == which })
	if i < 0 {
		return fmt.Errorf("there is no node %q", which)
	}
	switch what {
	case "start-kubelet":
		return c.nodes[i].startKubelet()
	case "stop-kubelet":
		return c.nodes[i].stopKubelet()
	default:
		return fmt.Errorf("what is %q?", what)
	}
}

// end ends everything that was started, and leaves nothing but the logs.
func (c *cluster) end() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.end())
	}
	if c.control != nil {
		errs = append(errs, c.control.end())
	}
	errs = append(errs, removeCgroups(c.name))
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}
