package buildcache_test

import (
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/ocicache/ocicache/buildcache"
)

// exampleCache parses the example's cache, with its result created at another time.
func exampleCache(created string) buildcache.Cache {
	root, err := buildcache.ParseRoot([]byte(exampleRoot))
	if err != nil {
		log.Fatal(err)
	}
	config, err := buildcache.ParseConfig([]byte(strings.Replace(exampleConfig, "2026-11-23T05:35:46Z", created, 1)))
	if err != nil {
		log.Fatal(err)
	}
	return buildcache.Cache{Root: root, Config: config}
}

// Two builders ran the same step. One cache serves both, with the newest result, in whichever order they come.
func ExampleMerge() {
	monday, tuesday := exampleCache("2026-11-23T08:00:00Z"), exampleCache("2026-11-24T08:00:00Z")
	merged, err := buildcache.Merge([]buildcache.Cache{tuesday, monday}, buildcache.MergeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(merged.Root.Form, len(merged.Config.Records), "record,", merged.Superseded, "result superseded")
	fmt.Println(merged.Config.Records[0].Results[0].CreatedAt.Time)
	// Output:
	// artifact 1 record, 1 result superseded
	// 2026-11-24 08:00:00 +0000 UTC
}

// What a rule drops takes along what nothing else needs.
func ExamplePrune() {
	pruned, err := buildcache.Prune(exampleCache("2026-11-23T08:00:00Z"), buildcache.PruneRules{
		Before: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, freed := range pruned.Freed {
		fmt.Printf("%s: %d results, %d records, %d blobs, %d bytes\n", freed.Rule, freed.Results, freed.Records, freed.Blobs, freed.Bytes)
	}
	fmt.Println("left:", pruned.Kept.Results)
	// Output:
	// unneeded: 0 results, 0 records, 0 blobs, 0 bytes
	// older-than: 1 results, 1 records, 1 blobs, 79 bytes
	// left: 0
}

// The same step gave the same layer, on another day.
func ExampleDiff() {
	d, err := buildcache.Diff(exampleCache("2026-11-23T08:00:00Z"), exampleCache("2026-11-24T08:00:00Z"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same:", d.Same())
	for _, change := range d.Records.Changed {
		fmt.Println(change.A.Digest.Encoded()[:12], change.Result)
	}
	fmt.Println("blobs to move:", d.ToB.Blobs)
	// Output:
	// the same: false
	// 2c26b46b68ff created-at
	// blobs to move: 0
}
