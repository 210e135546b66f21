package main

import "golang.org/x/sys/unix"

// dropPowers makes file modes apply to the programs that this thread becomes.
func dropPowers() {
	for _, power := range []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER} {
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, power, 0, 0, 0) // only root has them to lose
	}
}
