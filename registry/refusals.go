package registry

import (
	"net/http"

	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"

	"github.com/ocicache/ocicache/buildcache"
)

const unsaid = "its answer gives no reason that ocicache knows"

// refusals are the known answers, the most specific first.
var refusals = []knownRefusal{
	// About tags. Amazon ECR (TAG_INVALID), Quay (409), Harbor (412), Docker Hub (403).
	{
		either(saying(wordsImmutable...), withStatus(http.StatusConflict)), AboutTag,
		"the tag exists and may not be moved",
		say("choose another tag, or have the tags made mutable there"),
	},
	// About size. Distribution (in the details), zot (413), GitLab (MANIFEST_SIZE_LIMIT), proxies (413).
	{
		ofRoot(either(saying("request body too large", "size limit exceeded", "exceeds maximum"), withStatus(http.StatusRequestEntityTooLarge))),
		AboutSize,
		"the root is larger than it takes; it grows with the number of layers",
		say("export fewer stages (mode=min), or split the cache over several tags"),
	},
	{
		ofBlob(either(saying("too large", "exceeds maximum"), withStatus(http.StatusRequestEntityTooLarge))), AboutSize,
		"a layer is larger than it takes, or than a proxy before it lets through",
		say("have the limit raised, there or in the proxy before it; layers in gzip become smaller by 'ocicache convert' with --compression zstd"),
	},
	// About the form, in the words of Quay, Google and Amazon.
	{
		ofList(saying("'platform' is a required property")), AboutPlatform,
		"Quay wants a platform for every entry of a list, and an image behind it; the entries of a cache are layers",
		send(buildcache.Artifact, ", which Quay takes since 3.12"),
	},
	{
		ofList(saying("could not find child manifest")), AboutForm,
		"Quay looks for an image behind every entry of an index; the entries of a cache are layers",
		send(buildcache.Artifact, ""),
	},
	{
		ofList(saying("child manifest not supported")), AboutForm,
		"Google's registry wants manifests as entries of a list; the entries of a cache are layers", send(buildcache.Artifact, ""),
	},
	{
		ofList(saying("invalid json syntax", "unsupported manifest type")), AboutForm,
		"Amazon ECR says so of lists whose entries are no manifests; the entries of a cache are layers", send(buildcache.Artifact, ""),
	},
	{
		ofManifest(saying("invalid json syntax")), AboutOther,
		"Amazon ECR says so of a manifest that has no layers, no mediaType, or an artifactType",
		verify("ecr", "find out which one it is"),
	},
	// About the config.
	{
		saying(wordsClass), AboutConfigType,
		"a policy of the registry lets configs of images pass only, and that of a cache is none; Alibaba's personal edition has one",
		send(buildcache.OCIIndex, ", which may get past it, as it does with distribution; otherwise use another registry"),
	},
	{
		ofManifest(saying(" is not one of [", "'rootfs' is a required property", "'history' is a required property")), AboutConfigType,
		"Quay before 3.12 takes configs of images only, unless it is told otherwise, and Docker manifests with them only",
		say("send an artifact to a Quay from 3.12 on, or one with IGNORE_UNKNOWN_MEDIATYPES (3.9 to 3.11) or with the type in " +
			"ALLOWED_OCI_ARTIFACT_TYPES"),
	},
	{
		saying("unknown media type:"), AboutConfigType,
		"GitLab knows the types of configs and artifacts that it takes, and this is none of them",
		send(buildcache.OCIIndex, ", which has neither"),
	},
	// About manifests without layers.
	{
		ofManifest(saying(`missing required field "layers"`)), AboutEmpty,
		"the cache has no layers, and Google's registry refuses manifests without", say("leave it out: no build can hit it"),
	},
	// About the form, where only codes and statuses tell.
	{
		ofList(coded(v2.ErrorCodeManifestBlobUnknown)), AboutForm,
		asList + ", as distribution 3 does by default", send(buildcache.Artifact, ""),
	},
	{
		ofList(either(withStatus(http.StatusNotFound), saying("not found"))), AboutForm,
		"it stored the list, then looked for an image behind every entry and found layers; Harbor does so", send(buildcache.Artifact, ""),
	},
	{
		ofArtifact(withStatus(http.StatusUnsupportedMediaType)), AboutForm,
		"it does not take this media type, as a Quay of 2020 without FEATURE_GENERAL_OCI_SUPPORT takes none of OCI's",
		send(buildcache.DockerList, ""),
	},
	{
		ofRoot(either(withStatus(http.StatusUnsupportedMediaType), saying("mediatype:application/vnd."))), AboutForm,
		"it does not take this media type, as zot does not take Docker's", send(buildcache.Artifact, ""),
	},
	{
		ofList(either(withStatus(http.StatusMethodNotAllowed), coded(errcode.ErrorCodeUnsupported))), AboutForm,
		asList + "; if it takes nothing at all, it is read-only", send(buildcache.Artifact, ""),
	},
	// About writing at all.
	{
		either(withStatus(http.StatusMethodNotAllowed), coded(errcode.ErrorCodeUnsupported)), AboutReadOnly,
		"it is read-only, or a proxy that passes on what others have",
		say("push to the registry behind it, or end its maintenance"),
	},
	{
		saying(wordsReadOnly...), AboutReadOnly,
		"nothing may be written to it at the moment",
		say("end its maintenance, or push elsewhere"),
	},
	{
		either(coded(v2.ErrorCodeNameUnknown), ofBlob(withStatus(http.StatusNotFound))), AboutOther,
		"the repository does not exist, and is not made by pushing to it, as in Amazon ECR",
		say("create the repository first"),
	},
	// What is left.
	{ofList(either(coded(v2.ErrorCodeManifestInvalid), uncoded(http.StatusBadRequest))), AboutForm, asList, send(buildcache.Artifact, "")},
	{
		ofRoot(coded(v2.ErrorCodeManifestBlobUnknown, v2.ErrorCodeBlobUnknown)), AboutOther,
		"a blob that the root refers to is not there; it may have been deleted in the meantime", say("run the same command again"),
	},
	{
		ofRoot(coded(v2.ErrorCodeSizeInvalid)), AboutOther,
		"a size in the root is not that of the blob", verify(NoProfile, "find out which one"),
	},
	{ofRoot(anything), AboutOther, unsaid, verify(AnyProfile, "see what registries refuse in such a cache")},
}
