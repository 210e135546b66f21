package buildcache

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// Effect is what a problem does to whoever uses the cache.
type Effect string

// The effects, worst first.
const (
	// BuildFails: a build that hits the cache ends with an error.
	BuildFails Effect = "build-fails"
	// HitsLost: builds run steps that the cache should have saved, without a warning.
	HitsLost Effect = "hits-lost"
	// RegistryRefuses: BuildKit does not mind, but some registry refuses the cache.
	RegistryRefuses Effect = "registry-refuses"
	// Waste: nothing breaks; space or time is lost.
	Waste Effect = "waste"
)

// Severity is error or warning.
type Severity string

// The severities. A cache that BuildKit imports in full has no error.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Severity returns error for the effects that harm a build, else warning. A problem may be a warning all the same: see
// Problem.AsWarning.
func (e Effect) Severity() Severity {
	if e == BuildFails || e == HitsLost {
		return SeverityError
	}
	return SeverityWarning
}

// Kind names one way in which a cache can be wrong. The names are part of the interface: scripts match them.
type Kind string

// The kinds. Kinds() says what each means.
const (
	RootMissing       Kind = "root-missing"
	RootDamaged       Kind = "root-damaged"
	RootInvalid       Kind = "root-invalid"
	RootTooLarge      Kind = "root-too-large"
	RootNoMediaType   Kind = "root-no-media-type"
	RootNoLayers      Kind = "root-no-layers"
	ConfigMissing     Kind = "config-missing"
	ConfigDamaged     Kind = "config-damaged"
	ConfigInvalid     Kind = "config-invalid"
	ConfigTooLarge    Kind = "config-too-large"
	ConfigRepeated    Kind = "config-repeated"
	ConfigMisplaced   Kind = "config-misplaced"
	RecordLinkRange   Kind = "record-link-range"
	RecordLoop        Kind = "record-loop"
	RecordEmptyInput  Kind = "record-empty-input"
	RecordRandomLink  Kind = "record-random-link"
	RecordDigest      Kind = "record-digest"
	LayerIndexRange   Kind = "layer-index-range"
	LayerLoop         Kind = "layer-loop"
	LayerUnlisted     Kind = "layer-unlisted"
	LayerUnused       Kind = "layer-unused"
	LayerNoDiffID     Kind = "layer-no-diffid"
	LayerDiffID       Kind = "layer-diffid"
	LayerCreatedAt    Kind = "layer-createdat"
	LayerMediaTypeBad Kind = "layer-media-type"
	LayerMislabelled  Kind = "layer-mislabelled"
	LayerUnreadable   Kind = "layer-unreadable"
	LayerTOC          Kind = "layer-toc"
	LayerForeign      Kind = "layer-foreign"
	LayerConflict     Kind = "layer-conflict"
	BlobMissing       Kind = "blob-missing"
	BlobSize          Kind = "blob-size"
	BlobDamaged       Kind = "blob-damaged"
	DigestInvalid     Kind = "digest-invalid"
	NoResults         Kind = "no-results"
	IndexInvalid      Kind = "index-invalid"
	TagShadowed       Kind = "tag-shadowed"
	Untagged          Kind = "untagged"
	CacheInIndex      Kind = "cache-in-index"
	Unreachable       Kind = "unreachable"
	Leftover          Kind = "leftover"

	KeysOutdated Kind = "keys-outdated"
	VolumeLost   Kind = "volume-lost"

	// Found by the profiles of registries.
	RegistryForm       Kind = "registry-form"
	RegistryConfigType Kind = "registry-config-type"
	RegistryRootSize   Kind = "registry-root-size"
	RegistryLayerSize  Kind = "registry-layer-size"
)

// KindInfo says what a kind of problem means and what helps.
type KindInfo struct {
	Kind   Kind
	Effect Effect // the usual one; a problem may have a milder one if the cache works without what is wrong
	Means  string
	Remedy string // what to do, in words: the caller that shows it knows from the kind which of its commands does it
}

const (
	remedyExport  = "export the cache again"
	remedyCopy    = "copy the cache again from where it is whole, or export it again"
	remedyBase    = "take it from a place that has it; or " + remedyExport
	remedyRepair  = "take it from a place that has it, or drop what needs it; or " + remedyExport
	remedyCorrect = "correct what the root says of the layer, by its bytes; or " + remedyExport
	remedyConvert = "convert it to the form it should have: the root is written anew"
	remedyShrink  = "drop its oldest results until it fits, export fewer stages (mode=min), or split the cache over several tags"
)

// Kinds returns what is known about every kind, in the order in which they are documented.
func Kinds() []KindInfo { return slices.Clone(kinds) }

var kinds = []KindInfo{
	{RootMissing, HitsLost, "a tag names a root that is not there", "tag the root that is there, or take this one from a place that has it; or " + remedyExport},
	{RootDamaged, HitsLost, "the root's bytes differ from its digest", "write it anew from what can be read of it, or " + remedyBase},
	{RootInvalid, HitsLost, "BuildKit can't read the root", remedyExport},
	{RootTooLarge, HitsLost, "the root is larger than the 1 MiB that BuildKit imports", remedyShrink},
	{RootNoMediaType, RegistryRefuses, "the root has no mediaType, which some registries insist on", remedyConvert},
	{RootNoLayers, RegistryRefuses, "the root has no layers, which some registries refuse", "leave it out of the transfer"},
	{ConfigMissing, HitsLost, "the cache config is not there", remedyBase},
	{ConfigDamaged, HitsLost, "the cache config's bytes differ from its digest", remedyBase},
	{ConfigInvalid, HitsLost, "BuildKit can't read the cache config", remedyExport},
	{ConfigTooLarge, HitsLost, "the cache config is larger than the 1 MiB that BuildKit imports", remedyShrink},
	{ConfigRepeated, Waste, "a list with several cache configs, of which BuildKit reads the last", remedyConvert},
	{ConfigMisplaced, Waste, "a cache config among the layers of a manifest, where BuildKit ignores it", remedyConvert},
	{RecordLinkRange, HitsLost, "a record links to one that does not exist; BuildKit rejects the whole cache", remedyExport},
	{RecordLoop, HitsLost, "records link in a circle; BuildKit rejects the whole cache", remedyExport},
	{RecordEmptyInput, HitsLost, "a record has an input without alternatives; BuildKit rejects the whole cache", remedyExport},
	{RecordRandomLink, HitsLost, "a record links to a random one, which BuildKit drops; it rejects the whole cache", remedyExport},
	{RecordDigest, HitsLost, "a record with results has no valid cache key, or depends on one without, so nothing can hit it", "drop the record; or " + remedyExport},
	{LayerIndexRange, HitsLost, "a result or parent points to no layer; BuildKit rejects the whole cache", remedyExport},
	{LayerLoop, HitsLost, "layers are each other's parents; BuildKit rejects the whole cache", remedyExport},
	{LayerUnlisted, HitsLost, "a layer of the config is missing in the root; results on it are dropped", "list it if it is there, else drop what needs it; or " + remedyExport},
	{LayerUnused, Waste, "a layer that no result needs", "nothing breaks; a new export leaves it out"},
	{LayerNoDiffID, HitsLost, "a layer without the annotation " + AnnotationDiffID + ", which BuildKit needs", remedyCorrect},
	{LayerDiffID, BuildFails, "a layer's uncompressed bytes differ from its diffID", remedyExport},
	{LayerCreatedAt, HitsLost, "a layer's annotation " + AnnotationCreatedAt + " is no time", "leave the annotation out; or " + remedyExport},
	{LayerMediaTypeBad, BuildFails, "BuildKit can't unpack a layer of this media type", remedyCorrect},
	{LayerMislabelled, Waste, "a layer's compression is not the one that its media type says; BuildKit detects it, others may not", "convert it with --compression"},
	{LayerUnreadable, BuildFails, "a layer's bytes can't be unpacked the way BuildKit would", "correct its media type if only that is wrong, else drop what needs it; or " + remedyExport},
	{LayerTOC, Waste, "a layer has another table of contents or size than its estargz annotations say; lazy pulling fails", "convert it with --compression estargz and --force-compression"},
	{LayerForeign, RegistryRefuses, "a layer is marked as not distributable", "convert it with --compression and --force-compression"},
	{LayerConflict, Waste, "two descriptors of one layer disagree; BuildKit uses the last", "convert it with --compression and --force-compression"},
	{BlobMissing, BuildFails, "a blob is not there", remedyRepair},
	{BlobSize, BuildFails, "a blob has another size than its descriptor says", "correct the size if only that is wrong, else drop what needs it; or " + remedyExport},
	{BlobDamaged, BuildFails, "a blob's bytes differ from its digest", remedyRepair},
	{DigestInvalid, BuildFails, "a descriptor's digest is malformed", remedyExport},
	{NoResults, HitsLost, "the cache has no results, so nothing can hit it", remedyExport},
	{IndexInvalid, HitsLost, "index.json can't be read, or names nothing where caches lie", "restore index.json, or write it anew from what stands whole in it; or " + remedyExport},
	{TagShadowed, HitsLost, "another entry of index.json takes this tag first", "remove the other entry or give it another tag"},
	{Untagged, HitsLost, "no tag names this cache; BuildKit finds it by digest= only", "give it a tag, by the digest of its root"},
	{CacheInIndex, HitsLost, "a tag names an index with only a cache in it, which BuildKit takes for an image", "tag the cache itself, by the digest of its root"},
	{Unreachable, Waste, "blobs that no tag reaches", "collect the garbage"},
	{Leftover, Waste, "leftovers of an interrupted write", "collect the garbage"},
	{KeysOutdated, HitsLost, "records have keys that only older BuildKits make; newer ones run those steps again", "export the cache again with the BuildKit that is to import it"},
	{VolumeLost, Waste, "a volume of an archive, a recovery volume or their list is missing, damaged or has the wrong name; the others make up for it, as long as no more are lost", "copy the file again from an intact original, or unpack the archive while it can be read and pack it again"},
	{RegistryForm, RegistryRefuses, "the registry does not take the form of the root", "convert it with --to artifact"},
	{RegistryConfigType, RegistryRefuses, "the registry accepts only configs of images, and a cache config is not one", "use another registry"},
	{RegistryRootSize, RegistryRefuses, "the root is larger than the registry takes", remedyShrink},
	{RegistryLayerSize, RegistryRefuses, "a layer is larger than the registry takes", "convert it with --compression zstd, or use another registry"},
}

// Info returns what is known about the kind.
func (k Kind) Info() KindInfo {
	for _, info := range kinds {
		if info.Kind == k {
			return info
		}
	}
	return KindInfo{Kind: k}
}

// Problem is one finding about one cache.
type Problem struct {
	Kind     Kind          `json:"kind"`
	Effect   Effect        `json:"effect"`
	Severity Severity      `json:"severity"`
	Cache    string        `json:"cache,omitempty"`  // the cache's tag, if it has one and the finder knows it
	Where    string        `json:"where"`            // such as "records[3]" or a file's name
	Digest   digest.Digest `json:"digest,omitempty"` // the blob concerned
	Detail   string        `json:"detail"`
	Remedy   string        `json:"remedy"`
}

// NewProblem returns a problem with the usual effect and remedy of its kind.
func NewProblem(kind Kind, where, detail string) Problem {
	info := kind.Info()
	if detail == "" {
		detail = info.Means
	}
	return Problem{
		Kind: kind, Effect: info.Effect, Severity: info.Effect.Severity(),
		Where: where, Detail: detail, Remedy: info.Remedy,
	}
}

// WithEffect returns the problem with another effect, and the severity that follows from it.
func (p Problem) WithEffect(e Effect) Problem {
	p.Effect, p.Severity = e, e.Severity()
	return p
}

// AsWarning returns the problem as a warning, whatever its effect: for a cache that is imported in full, where the outcome
// depends on the version of BuildKit.
func (p Problem) AsWarning() Problem {
	p.Severity = SeverityWarning
	return p
}

// On returns the problem with d as the blob concerned.
func (p Problem) On(d digest.Digest) Problem {
	p.Digest = d
	return p
}

// HasErrors reports whether one of the problems is an error.
func HasErrors(problems []Problem) bool {
	for _, p := range problems {
		if p.Severity == SeverityError {
			return true
		}
	}
	return false
}
