package main

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary also be the programs that scripts run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ocicache":     main,
		"unprivileged": unprivileged,
	})
}

// unprivileged runs another program as somebody to whom file modes apply: root without the power to pass over them.
func unprivileged() {
	runtime.LockOSThread() // the powers belong to the thread, and the thread becomes the program
	dropPowers()
	self, err := os.Executable()
	if err == nil {
		err = syscall.Exec(self, os.Args[1:], os.Environ())
	}
	panic(err)
}
