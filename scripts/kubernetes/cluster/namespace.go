//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// namespace runs programs that end together: a PID and mount namespace, seen from outside.
type namespace struct {
	init   *exec.Cmd
	client *rpc.Client
}

// newNamespace makes a namespace whose programs log to a directory.
func newNamespace(logs string) (*namespace, error) {
	init := exec.Command("/proc/self/exe", initArgument, logs) //nolint:noctx // it ends with its standard input, and everything with it
	init.Stderr = os.Stderr
	init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Setsid: true}
	in, err := init.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := init.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := init.Start(); err != nil {
		return nil, fmt.Errorf("make a namespace: %w", err)
	}
	return &namespace{init, rpc.NewClientWithCodec(jsonrpc.NewClientCodec(connection{out, in}))}, nil
}

// ask makes the namespace's first process do something.
func (n *namespace) ask(what string, with any) error {
	var done bool
	return n.client.Call("Init."+what, with, &done)
}

func (n *namespace) start(name string, line ...string) error {
	return n.ask("Start", Program{Name: name, Line: line})
}

// end ends every process of the namespace, and returns when none is left.
func (n *namespace) end() error {
	err := n.client.Close()
	late := time.AfterFunc(10*time.Second, func() { _ = n.init.Process.Kill() }) // Wait reports it
	defer late.Stop()
	return errors.Join(err, n.init.Wait())
}

// connection joins what a process writes and reads.
type connection struct {
	io.Reader
	io.WriteCloser
}
