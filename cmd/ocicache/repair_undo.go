package main

import (
	"slices"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
)

// undo says how what was dropped of a cache comes back if its blobs are found, "" if it doesn't. In a directory the old root stays until gc.
func (r repairResult) undo(c *convert.RepairResult) string {
	isAny := func(kinds ...buildcache.Kind) bool {
		return slices.ContainsFunc(c.Repairs, func(done convert.Repair) bool { return slices.Contains(kinds, done.Kind) })
	}
	switch {
	case r.isFar || !c.Written || c.Lost.Results == 0 || !isAny(buildcache.BlobMissing, buildcache.BlobDamaged):
		return ""
	case isAny(buildcache.RootMissing, buildcache.RootDamaged, buildcache.CacheInIndex): // the tag named something else
		return ""
	}
	return mention(onPath("repair", r.Path, "--root", c.From.String(), "--tag", "NEW", "--base", "PLACE", "--write")) +
		" gives the whole cache a NEW tag if a PLACE has the blobs, as long as gc has not removed the old root, which it does after a day"
}
