package buildcache

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

// LayerChain returns the indexes in Layers of a layer and all its parents, topmost first: the layers of a result that ends in
// it. It fails if an index points to no layer, or if the parents form a circle.
func (c *Config) LayerChain(layer int) ([]int, error) {
	var chain []int
	for i := layer; i != NoParent; i = c.Layers[i].Parent {
		if i < 0 || i >= len(c.Layers) {
			return nil, fmt.Errorf("layers[%d] is asked for, and there are %d", i, len(c.Layers))
		}
		if len(chain) == len(c.Layers) {
			return nil, fmt.Errorf("the parents of layers[%d] lead in a circle", layer)
		}
		chain = append(chain, i)
	}
	return chain, nil
}

// RecordBlobs returns the layer blobs of a record's results, each once: topmost first, those of chains lowest first. A record
// without results has none: it is there for the records that link to it. It fails as LayerChain does, and if there is no such
// record.
func (c *Config) RecordBlobs(record int) ([]digest.Digest, error) {
	if record < 0 || record >= len(c.Records) {
		return nil, fmt.Errorf("records[%d] is asked for, and there are %d", record, len(c.Records))
	}
	var blobs []digest.Digest
	seen := map[digest.Digest]bool{}
	add := func(layers []int) error {
		for _, i := range layers {
			if i < 0 || i >= len(c.Layers) {
				return fmt.Errorf("records[%d] has layers[%d], and there are %d", record, i, len(c.Layers))
			}
			if blob := c.Layers[i].Blob; !seen[blob] {
				seen[blob] = true
				blobs = append(blobs, blob)
			}
		}
		return nil
	}
	for _, result := range c.Records[record].Results {
		chain, err := c.LayerChain(result.Layer)
		if err == nil {
			err = add(chain)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, chain := range c.Records[record].Chains {
		if err := add(chain.Layers); err != nil {
			return nil, err
		}
	}
	return blobs, nil
}
