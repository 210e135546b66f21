package buildcache_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
)

// builds makes a cache like BuildKit's: so many records, in builds of 25 steps each on the one before, the first half of
// which every builder has. Steps have a second key by content, and every fourth copies from another build.
func builds(tb testing.TB, builder, records int) buildcache.Cache {
	tb.Helper()
	c := tiny(tb, "layer base", "from = base @ 01")
	c.Root.Layers[0].Annotations[buildcache.AnnotationCreatedAt] = "2026-01-01T00:00:00Z"
	parent, below := 0, 0
	for i := 1; len(c.Config.Records) < records; i++ {
		who := builder
		if i < records/4 {
			who = -1
		}
		if i%25 == 1 {
			parent, below = 0, 0
		}
		name := fmt.Sprint(who, " ", i)
		c.Config.Layers = append(c.Config.Layers, buildcache.Layer{Blob: sum("blob" + name), Parent: below})
		d := c.Root.Layers[0].Clone()
		d.Digest, d.Size = sum("blob"+name), int64(1000+i)
		d.Annotations[buildcache.AnnotationDiffID] = sum("content" + name).String()
		c.Root.Layers = append(c.Root.Layers, d)
		below = len(c.Config.Layers) - 1
		content := buildcache.Record{Digest: sum("content of " + name)}
		step := buildcache.Record{
			Digest: sum("step" + name), Inputs: [][]buildcache.Input{{{Link: parent}, {Selector: "sha256:s", Link: len(c.Config.Records)}}},
			Results: []buildcache.Result{{Layer: below, CreatedAt: buildcache.Time{Time: time.Unix(int64(1e9+i*1000+builder), 0).UTC()}}},
		}
		if i%4 == 0 {
			step.Inputs = append(step.Inputs, []buildcache.Input{{Link: len(c.Config.Records) / 2}})
		}
		c.Config.Records = append(c.Config.Records, content, step)
		parent = len(c.Config.Records) - 1
	}
	return c
}

// BenchmarkMerge merges 20 caches of 500 records, and more, to show that time is linear.
func BenchmarkMerge(b *testing.B) {
	for _, size := range []struct{ caches, records int }{{5, 500}, {10, 500}, {20, 500}, {20, 1000}, {20, 2000}} {
		var caches []buildcache.Cache
		for i := range size.caches {
			caches = append(caches, builds(b, i, size.records))
		}
		b.Run(fmt.Sprintf("%dx%d", size.caches, size.records), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				merged, err := buildcache.Merge(caches, buildcache.MergeOptions{})
				var tooLarge *buildcache.SizeError
				if err != nil && !errors.As(err, &tooLarge) {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(merged.Config.Records)), "records")
			}
		})
	}
}

// BenchmarkPrune drops half of the results, by each rule.
func BenchmarkPrune(b *testing.B) {
	for _, records := range []int{2500, 5000, 10000} {
		c := builds(b, 0, records)
		extent := prune(b, c, buildcache.PruneRules{}).Kept
		for _, rules := range []struct {
			name string
			buildcache.PruneRules
		}{
			{"before", buildcache.PruneRules{Before: middleAge(c)}},
			{"keep-bytes", buildcache.PruneRules{MaxBytes: extent.Bytes / 2}},
			{"leaves", buildcache.PruneRules{Leaves: true}},
			{"fit", buildcache.PruneRules{Fit: true}},
		} {
			b.Run(fmt.Sprintf("%s/%d", rules.name, records), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					prune(b, c, rules.PruneRules)
				}
			})
		}
	}
}

// BenchmarkDiff compares two caches of which half is the same.
func BenchmarkDiff(b *testing.B) {
	for _, records := range []int{2500, 5000, 10000} {
		from, to := builds(b, 0, records), builds(b, 1, records)
		b.Run(fmt.Sprint(records), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				diff(b, from, to)
			}
		})
	}
}

// BenchmarkHostile has what a cache of 16 MiB can have at worst: depth, and one digest for all.
func BenchmarkHostile(b *testing.B) {
	for _, records := range []int{25_000, 50_000, 100_000} {
		deep := deepCache(b, records)
		wide := tiny(b, "layer x", "r = x @ 01")
		for i := range records {
			wide.Config.Records = append(wide.Config.Records, buildcache.Record{
				Digest: wide.Config.Records[0].Digest, Inputs: [][]buildcache.Input{{{Link: 0}, {Link: i / 2}}, {{Link: i}}}, Results: []buildcache.Result{{}},
			})
		}
		for _, shape := range []struct {
			name  string
			cache buildcache.Cache
		}{{"deep", deep}, {"wide", wide}} {
			b.Run(fmt.Sprintf("%s/%d", shape.name, records), func(b *testing.B) {
				for b.Loop() {
					_, err := buildcache.Merge([]buildcache.Cache{shape.cache}, buildcache.MergeOptions{})
					var tooLarge *buildcache.SizeError
					if err != nil && !errors.As(err, &tooLarge) {
						b.Log(err)
					}
					prune(b, shape.cache, buildcache.PruneRules{MaxRecords: records / 2})
				}
			})
		}
	}
}
