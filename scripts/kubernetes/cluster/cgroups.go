//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// hierarchies returns the roots of the cgroup hierarchies: one for each controller, or the single one of version 2.
func hierarchies() ([]string, error) {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}, nil
	}
	found, err := filepath.Glob(filepath.Join(root, "*", "cgroup.procs"))
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("there are no cgroups in %s", root)
	}
	var roots []string
	for _, procs := range found {
		dir := filepath.Dir(procs)
		if info, err := os.Lstat(dir); err == nil && info.IsDir() { // links are aliases
			roots = append(roots, dir)
		}
	}
	return roots, err
}

// makeCgroups makes a cgroup, and others inside it.
func makeCgroups(name string, inside ...string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		for _, path := range append([]string{""}, inside...) {
			dir := filepath.Join(root, name, path)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make a cgroup: %w", err)
			}
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // if empty, nothing runs in it; version 2 inherits them
				if value, err := os.ReadFile(filepath.Join(root, file)); err == nil {
					if err := os.WriteFile(filepath.Join(dir, file), value, 0o600); err != nil {
						return fmt.Errorf("make a cgroup: %w", err)
					}
				}
			}
		}
	}
	return nil
}

// removeCgroups removes a cgroup and everything in it, once the last process has left.
func removeCgroups(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		dir := filepath.Join(root, name)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			err = removeTree(dir)
			if err == nil || time.Now().After(deadline) {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("remove the cgroups %s: %w", dir, err)
		}
	}
	return nil
}

// removeTree removes directories. The files in cgroups can't be removed and need not be.
func removeTree(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, path := range slices.Backward(dirs) {
		err = errors.Join(err, syscall.Rmdir(path))
	}
	return err
}
