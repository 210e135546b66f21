//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// namePrefix begins the name of a cluster, its cgroups and its directory. The cluster's process ID ends it.
const namePrefix = "ocicache-cluster-"

// ownName returns the name of this process's cluster.
func ownName() string { return namePrefix + strconv.Itoa(os.Getpid()) }

// removeStale removes what clusters left behind that were killed before they could.
func removeStale() error {
	names := map[string]bool{}
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range append(roots, os.TempDir()) {
		found, err := filepath.Glob(filepath.Join(root, namePrefix+"*"))
		if err != nil {
			return err
		}
		for _, dir := range found {
			names[filepath.Base(dir)] = true
		}
	}
	var errs []error
	for name := range names {
		if stale(name) {
			errs = append(errs, removeCgroups(name), os.RemoveAll(filepath.Join(os.TempDir(), name)))
		}
	}
	return errors.Join(errs...)
}

// stale reports whether the process that a name belongs to is gone, or is this one.
func stale(name string) bool {
	pid, err := strconv.Atoi(strings.TrimPrefix(name, namePrefix))
	return err == nil && (pid == os.Getpid() || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH))
}
