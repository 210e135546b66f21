package explain

import (
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/provenance"
)

type (
	inputOf     = provenance.Input
	alternative = buildcache.Input
)

// How says how it is known what a record stands for.
type How string

// The ways of knowing. All but ByPosition are proofs.
const (
	// ByKey: the digest is that of the step's key, and the record stands where the step does in the build.
	ByKey How = "key"
	// ByPosition: the record is where the step or its files must be. What its digest is made of is unknown.
	ByPosition How = "position"
	// ByContent: the digest is that of files in the build context.
	ByContent How = "content"
	// ByLayers: the digest is that of files in the layers of the cache, or of an image's layers.
	ByLayers How = "layers"
	// ByDefinition: the digest is that of files which the build itself defines.
	ByDefinition How = "definition"
)
