package main

import (
	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// lostVolumes says what is missing or damaged in an archive in volumes that can still be read.
func lostVolumes(src layout.Source) []buildcache.Problem {
	packed, ok := src.(*archive.Archive)
	if !ok {
		return nil
	}
	var problems []buildcache.Problem
	for _, lost := range packed.LostVolumes() {
		problems = append(problems, buildcache.NewProblem(buildcache.VolumeLost, lost.Name, lost.Err.Error()))
	}
	return problems
}
