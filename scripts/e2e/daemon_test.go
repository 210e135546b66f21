//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// maxDaemons bounds the daemons that run at a time. Whoever holds one must not
// ask for another, or two tests can wait for each other for ever.
const maxDaemons = 2

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 15 * time.Second
)

var daemonSlots = make(chan struct{}, maxDaemons)

// daemon is a buildkitd of its own: own root, own socket, own process group.
type daemon struct {
	dir    string
	log    bytes.Buffer // to be read after exited is closed
	cancel context.CancelFunc
	exited chan struct{}
}

// withDaemon calls fn with a daemon that has an empty root, and stops it.
func withDaemon(ctx context.Context, fn func(*daemon) error) (err error) {
	select {
	case daemonSlots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-daemonSlots }()

	// Not t.TempDir: the path of a socket has to be short.
	dir, err := os.MkdirTemp("", "bk")
	if err != nil {
		return fmt.Errorf("make the daemon's directory: %w", err)
	}
	d := &daemon{dir: dir, exited: make(chan struct{})}
	// Deferred, these run on a panic and on runtime.Goexit as well.
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := d.start(ctx); err != nil {
		return fmt.Errorf("start buildkitd: %w", err)
	}
	defer d.stop()
	if err := d.waitReady(ctx); err != nil {
		d.stop()
		return fmt.Errorf("start buildkitd: %w\n%s", err, d.log.String())
	}
	return fn(d)
}

func (d *daemon) socket() string  { return filepath.Join(d.dir, "sock") }
func (d *daemon) address() string { return "unix://" + d.socket() }

func (d *daemon) start(ctx context.Context) error {
	config := filepath.Join(d.dir, "buildkitd.toml")
	if err := os.WriteFile(config, d.config(), 0o600); err != nil {
		return fmt.Errorf("write its configuration: %w", err)
	}
	ctx, d.cancel = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, env.buildkitd, "--config", config)
	// Killed at once, it would leave the containers of its steps behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	cmd.Env = append(os.Environ(),
		"TMPDIR="+d.dir, // so that its temporary files go too
		// With these on the PATH it would take gzip that it does not take itself.
		"CONTAINERD_DISABLE_IGZIP=1", "CONTAINERD_DISABLE_PIGZ=1")
	cmd.Stdout, cmd.Stderr = &d.log, &d.log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// A Ctrl-C is for us; the daemon is stopped after its builds.
		Setpgid: true,
		// A test binary that times out runs no deferred function.
		Pdeathsig: syscall.SIGTERM,
		// Whatever the daemon mounts goes with it, however it ends.
		Unshareflags: syscall.CLONE_NEWNS,
	}
	if err := cmd.Start(); err != nil {
		d.cancel()
		return err
	}
	go func() {
		_ = cmd.Wait() // how it ended is of no interest; that it ended is
		close(d.exited)
	}()
	return nil
}

// config has no garbage collection, which could drop what a test looks for, no
// containerd worker, which would be shared with the machine's, and a socket
// for traces of its own, over which two daemons would fight.
func (d *daemon) config() []byte {
	return fmt.Appendf(nil, `root = %q
[grpc]
  address = [%q]
[otel]
  socketPath = %q
[worker.oci]
  enabled = true
  snapshotter = "overlayfs"
  networkMode = "host"
  gc = false
[worker.containerd]
  enabled = false
`, filepath.Join(d.dir, "root"), d.address(), filepath.Join(d.dir, "otel"))
}

func (d *daemon) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
		if err == nil {
			return conn.Close()
		}
		select {
		case <-d.exited:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends this daemon, and nothing else.
func (d *daemon) stop() {
	d.cancel()
	<-d.exited
}
