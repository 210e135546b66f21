//go:build !linux

package main

// dropPowers does nothing: powers apart from root's are Linux's.
func dropPowers() {}
