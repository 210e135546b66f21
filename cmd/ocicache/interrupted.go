package main

import (
	"slices"

	"github.com/ocicache/ocicache/layout"
)

// What an interruption leaves behind.
const (
	interruptedTags    = "interrupted; each tag is either unchanged or fully updated; run it again to continue"
	interruptedNames   = "interrupted; each tag is either unchanged or deleted; run it again to continue"
	interruptedArchive = "interrupted; no archive was written; run it again to start over"
	interruptedGC      = "interrupted; only blobs that no tag needs were removed; run it again to continue"
	interruptedNothing = "interrupted; nothing was changed"
)

// interruptedText says what interrupting the running command leaves behind.
func (a *app) interruptedText() string {
	switch {
	case a.running == nil || a.onlyReads():
		return interruptedNothing
	case a.running.Name() == "gc":
		return interruptedGC
	case a.running.Name() == "rm":
		return interruptedNames
	case a.makesArchive():
		return interruptedArchive
	}
	return interruptedTags
}

// onlyReads reports whether the command, as it was called, changes no place.
func (a *app) onlyReads() bool {
	flags := a.running.Flags()
	if dry := flags.Lookup("dry-run"); dry != nil && dry.Value.String() == "true" {
		return true
	}
	if write := flags.Lookup("write"); write != nil && write.Value.String() == "false" {
		return true
	}
	return slices.Contains([]string{"ls", "inspect", "verify", "diff", "explain", "registries", "version", "init", "check", "report"}, a.running.Name())
}

// makesArchive reports whether the command writes an archive, which is complete only at the end and moves no tag before.
func (a *app) makesArchive() bool {
	args := a.running.Flags().Args()
	if a.running.Name() == "pack" || len(args) == 0 {
		return a.running.Name() == "pack"
	}
	dst, err := layout.ParseReference(args[len(args)-1])
	return err == nil && dst.Transport == layout.TransportArchive
}

func (a *app) sayInterrupted() {
	text := a.interruptedText()
	if a.speaksJSON() {
		a.sayLine(errorLine{Event: "error", Status: exitInterrupted, Error: text, Hint: a.hintResume()})
		return
	}
	a.sayFitted("ocicache: error: " + text)
	if hint := a.hintResume(); hint != "" {
		a.sayFitted("ocicache: hint: " + clean(hint))
	}
}
