package buildcache_test

import (
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

func TestLayerChain(t *testing.T) {
	t.Parallel()
	blob := digest.FromString
	config := &buildcache.Config{
		Layers: []buildcache.Layer{
			{Blob: blob("base"), Parent: buildcache.NoParent},
			{Blob: blob("b"), Parent: 0},
			{Blob: blob("base"), Parent: 1},
			{Blob: blob("loop"), Parent: 4},
			{Blob: blob("loop"), Parent: 3},
			{Blob: blob("lost"), Parent: 99},
		},
		Records: []buildcache.Record{
			{Results: []buildcache.Result{{Layer: 2}, {Layer: 1}}},
			{Chains: []buildcache.Chain{{Layers: []int{1, 0}}}},
			{},
			{Results: []buildcache.Result{{Layer: 3}}},
			{Chains: []buildcache.Chain{{Layers: []int{-1}}}},
		},
	}
	for _, test := range []struct {
		layer int
		chain []int // nil for an error
	}{
		{layer: 0, chain: []int{0}},
		{layer: 2, chain: []int{2, 1, 0}},
		{layer: 3},
		{layer: 5},
		{layer: 6},
		{layer: -2},
	} {
		chain, err := config.LayerChain(test.layer)
		if !slices.Equal(chain, test.chain) || (err != nil) != (test.chain == nil) {
			t.Errorf("layer %d: %v, %v", test.layer, chain, err)
		}
	}
	for _, test := range []struct {
		record int
		blobs  []digest.Digest
		fails  bool
	}{
		{record: 0, blobs: []digest.Digest{blob("base"), blob("b")}},
		{record: 1, blobs: []digest.Digest{blob("b"), blob("base")}},
		{record: 2},
		{record: 3, fails: true},
		{record: 4, fails: true},
		{record: 5, fails: true},
		{record: -1, fails: true},
	} {
		blobs, err := config.RecordBlobs(test.record)
		if !slices.Equal(blobs, test.blobs) || (err != nil) != test.fails {
			t.Errorf("record %d: %v, %v", test.record, blobs, err)
		}
	}
}
