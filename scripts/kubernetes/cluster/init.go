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
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
)

// Program is a program that the first process of a namespace is asked to run.
type Program struct {
	Name  string // also the name of its log
	Line  []string
	Stdin string // a file, or "" for none
}

// Mount is a file system that only the namespace sees.
type Mount struct {
	Source, Target, Type, Data string
	Flags                      uintptr
}

// initProcess is the first process of a PID namespace and runs programs there on request over its standard input. When that
// ends, or this process does for any reason, the kernel ends everything ever started in the namespace, and removes all mounts.
type initProcess struct {
	logs string

	mu    sync.Mutex
	names map[string]int                    // running programs, by name
	ended map[int]chan<- syscall.WaitStatus // by process ID; only processes started on request are in here
}

// runInit serves requests until nobody is left to make them.
func runInit(logs string) error {
	if os.Getpid() != 1 {
		return errors.New("this is no PID namespace of its own")
	}
	i := &initProcess{logs: logs, names: map[string]int{}, ended: map[int]chan<- syscall.WaitStatus{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			i.reap()
		}
	}()
	if err := mountAll([]Mount{
		{Target: "/", Flags: syscall.MS_REC | syscall.MS_PRIVATE},
		{Source: "proc", Target: "/proc", Type: "proc"},
	}); err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Init", i); err != nil {
		return err
	}
	server.ServeCodec(jsonrpc.NewServerCodec(stdio{os.Stdin, os.Stdout}))
	return nil
}

// stdio is standard input and output as one connection.
type stdio struct {
	io.ReadCloser
	io.Writer
}

func mountAll(mounts []Mount) error {
	for _, m := range mounts {
		if err := syscall.Mount(m.Source, m.Target, m.Type, m.Flags, m.Data); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.Source, m.Target, err)
		}
	}
	return nil
}

// Mount makes mounts, in the given order.
func (i *initProcess) Mount(mounts []Mount, _ *bool) error { return mountAll(mounts) }

// Hide makes everybody in the namespace read other values from files, and write to copies.
func (i *initProcess) Hide(values map[string]string, _ *bool) error {
	for path, value := range values {
		cover := filepath.Join("/run", "hides"+filepath.Clean(path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(cover), 0o755), os.WriteFile(cover, []byte(value), 0o600)); err != nil {
			return fmt.Errorf("hide %s: %w", path, err)
		}
		if err := mountAll([]Mount{{Source: cover, Target: path, Flags: syscall.MS_BIND}}); err != nil {
			return err
		}
	}
	return nil
}

// Start starts a program without waiting for it. When it ends, that is reported on standard error, unless it was killed.
func (i *initProcess) Start(p Program, _ *bool) error {
	ended, err := i.start(p)
	if err != nil {
		return err
	}
	go func() {
		if status := <-ended; status.Signal() != syscall.SIGKILL {
			fmt.Fprintf(os.Stderr, "cluster: %s has ended with exit status %d: see its log\n", p.Name, status.ExitStatus())
		}
	}()
	return nil
}

// Run runs a program to its end.
func (i *initProcess) Run(p Program, _ *bool) error {
	ended, err := i.start(p)
	if err != nil {
		return err
	}
	if status := <-ended; status != 0 {
		return fmt.Errorf("%s: exit status %d, signal %d: see its log", p.Name, status.ExitStatus(), status.Signal())
	}
	return nil
}

// Kill ends a program at once. Processes that it started go on.
func (i *initProcess) Kill(name string, _ *bool) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	pid, ok := i.names[name]
	if !ok {
		return fmt.Errorf("%s does not run", name)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

func (i *initProcess) start(p Program) (<-chan syscall.WaitStatus, error) {
	path, err := exec.LookPath(p.Line[0])
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	stdin := os.DevNull
	if p.Stdin != "" {
		stdin = p.Stdin
	}
	in, err := os.Open(stdin)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer func() { _ = in.Close() }() // the program has its own
	log, err := os.OpenFile(filepath.Join(i.logs, p.Name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer func() { _ = log.Close() }() // nor does it need this one

	i.mu.Lock() // so that reap can't see it end before it is registered
	defer i.mu.Unlock()
	if _, ok := i.names[p.Name]; ok {
		return nil, fmt.Errorf("start %s: it runs already", p.Name)
	}
	pid, err := syscall.ForkExec(path, p.Line, &syscall.ProcAttr{
		Dir:   "/",
		Env:   os.Environ(),
		Files: []uintptr{in.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	i.names[p.Name], i.ended[pid] = pid, ended
	return ended, nil
}

// reap collects the processes that have ended: programs, and orphans.
func (i *initProcess) reap() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ended, ok := i.ended[pid]; ok {
			ended <- status
			delete(i.ended, pid)
		}
		for name, of := range i.names {
			if of == pid {
				delete(i.names, name)
			}
		}
	}
}
