package main

import (
	"slices"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
)

// undo says how what was dropped of a cache comes back if its blobs are found, "" if it doesn't. In a directory the old root stays until gc.
func (r repairResult) undo(c *convert.RepairResult) string {
	isAny := func(kinds ...convert.RepairKind) bool {
		return slices.ContainsFunc(c.Repairs, func(done convert.Repair) bool { return slices.Contains(kinds, done.Kind) })
	}
	const missing, damaged = convert.RepairKind(buildcache.BlobMissing), convert.RepairKind(buildcache.BlobDamaged)
	const rootMissing, rootDamaged = convert.RepairKind(buildcache.RootMissing), convert.RepairKind(buildcache.RootDamaged)
	switch {
	case r.isFar || !c.Written || c.Lost.Results == 0 || !isAny(missing, damaged):
		return ""
	case isAny(rootMissing, rootDamaged, convert.CacheInIndex): // the tag named something else
		return ""
	}
	return mention(onPath("repair", r.Path, "--root", c.From.String(), "--tag", "NEW", "--base", "PLACE", "--write")) +
		" gives the whole cache a NEW tag if a PLACE has the blobs, as long as gc has not removed the old root, which it does after a day"
}
