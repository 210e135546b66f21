package main

import (
	"slices"

	"github.com/ocicache/ocicache/layout"
)

// What an interruption leaves.
const (
	interruptedTags    = "interrupted; each tag names what it named before or what it was to name, run it again to go on"
	interruptedNames   = "interrupted; each tag is what it was or is gone, run it again to go on"
	interruptedArchive = "interrupted; nothing of the archive was written, run it again to start over"
	interruptedGC      = "interrupted; what was removed by then no tag needs, run it again to go on"
	interruptedNothing = "interrupted; nothing was changed"
)

// interruptedText says what an interruption of the command that is running leaves.
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

// onlyReads reports whether the command changes no place, as it is called.
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

// makesArchive reports whether the command writes an archive, as a whole and with no tag before its end.
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
