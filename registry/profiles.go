package registry

import (
	"maps"
	"slices"

	"github.com/ocicache/ocicache/buildcache"
)

// Profiles returns what is known about registries, in the order in which they are documented.
func Profiles() []Profile {
	out := slices.Clone(profiles)
	for i := range out {
		out[i].Forms = maps.Clone(out[i].Forms)
	}
	return out
}

func yes(source string) Verdict     { return Verdict{Takes: true, Confidence: Sure, Source: source} }
func no(why, source string) Verdict { return Verdict{Confidence: Sure, Why: why, Source: source} }
func likely(why, source string) Verdict {
	return Verdict{Takes: true, Confidence: Likely, Why: why, Source: source}
}

func unlikely(why, source string) Verdict {
	return Verdict{Confidence: Likely, Why: why, Source: source}
}
func unknown(source string) Verdict { return Verdict{Confidence: Unknown, Source: source} }

// aboutConfig returns the verdict as one about the type of the config.
func (v Verdict) aboutConfig() Verdict {
	v.About = AboutConfigType
	return v
}

const (
	notTried   = "not tried, and nothing found"
	whyEntries = "the entries of a list must be manifests, those of a cache are layers and a config"
	whyEmpty   = "a manifest without layers counts as malformed"

	quayParser  = "measured with Quay's own parser"
	quaySetting = "it takes configs of images only, unless its administrator sets IGNORE_UNKNOWN_MEDIATYPES (3.9 to 3.11) or adds " +
		"the type to ALLOWED_OCI_ARTIFACT_TYPES"
	whyPlatform = "it wants a platform for every entry of a list, and a manifest behind it"
	quayDocker  = "a Docker manifest must have the config of an image"

	vendor   = "the vendor's documentation"
	reported = "reported by users"
)

var (
	commonRoot = Limit{4 << 20, Likely, "not documented; 4 MiB is the usual limit, and the most that containers/image reads back"}
	noLimit    = Limit{0, Unknown, "no limit is known"}
	quayLayer  = Limit{20_000_000_000, Likely, "source read: the default of MAXIMUM_LAYER_SIZE, which a Quay may change"}
)

func measuredRoot(with string) Limit { return Limit{4 << 20, Sure, "measured with " + with} }

// forms returns the verdicts on BuildKit's forms, and on the manifest that other tools make of them.
func forms(dockerList, ociIndex, artifact, dockerManifest Verdict) map[buildcache.Form]Verdict {
	return map[buildcache.Form]Verdict{
		buildcache.DockerList: dockerList, buildcache.OCIIndex: ociIndex,
		buildcache.Artifact: artifact, buildcache.DockerManifest: dockerManifest,
	}
}

var profiles = slices.Concat(quayProfiles, cloudProfiles, hostedProfiles, serverProfiles)

var quayProfiles = []Profile{
	{
		Name: "quay-3.12", Aliases: []string{"quay"}, Title: "Quay (quay.io, 3.12 and later)", Hosts: []string{"quay.io"},
		Forms: forms(
			no(whyPlatform, quayParser+", 3.12 to 3.18"),
			no("it looks for a manifest behind every entry of an index", quayParser+", 3.12 to 3.18"),
			yes(quayParser+", 3.12 to 3.18"),
			no(quayDocker, quayParser+", 2020 to 3.18").aboutConfig(),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: yes(quayParser + ", 3.12 to 3.18"),
		MaxRoot:     commonRoot,
		MaxLayer:    quayLayer,
		Notes: []string{
			"tags can be immutable since 3.17; moving one is refused with 409",
			"with FEATURE_SPARSE_INDEX (3.17) an index may be taken, but its layers are not protected from garbage collection",
			"the layers of a cache are not shown in the web interface before 3.18",
		},
	},
	{
		Name: "quay-3.11", Title: "Quay 3.11",
		Forms: forms(
			no(whyPlatform, quayParser+" of 3.11"),
			no("it knows the types that entries of an index may have, and layers are none of them", quayParser+" of 3.11"),
			unlikely(quaySetting, quayParser+" of 3.11, with and without the settings").aboutConfig(),
			no(quayDocker, quayParser+", 2020 to 3.18").aboutConfig(),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    quayLayer,
		Notes:       []string{"with the settings, layers must have the media types of OCI"},
	},
	{
		Name: "quay-2020", Aliases: []string{"quay-old"}, Title: "Quay before 3.11",
		Forms: forms(
			no(whyPlatform, quayParser+", mid-2020 to 3.10"),
			no(whyPlatform, quayParser+", mid-2020 to 3.10"),
			unlikely(quaySetting, quayParser+", mid-2020 to 3.10, with and without the settings").aboutConfig(),
			no(quayDocker, quayParser+", 2020 to 3.18").aboutConfig(),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    quayLayer,
		Notes: []string{
			"in 2020 OCI types were refused with 415 unless FEATURE_GENERAL_OCI_SUPPORT was set; 3.5.1 has it set by default",
			"with the settings, layers must have the media types of OCI",
		},
	},
}

// cloudProfiles are the registries of cloud providers.
var cloudProfiles = []Profile{
	{
		Name: "ecr", Title: "Amazon ECR",
		Hosts: []string{
			"*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr-fips.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn", "*.dkr-ecr.*.on.aws",
			"*.dkr-ecr-fips.*.on.aws",
		},
		Forms: forms(
			no(whyEntries, reported+", with 400 and 405"),
			no(whyEntries, reported+", with 405; Docker's documentation asks for manifests there"),
			yes(vendor+", since BuildKit v0.12"),
			unknown(notTried),
		),
		EmptyLayers: no(whyEmpty+", refused with 405", reported+", twice"),
		NoMediaType: no("a manifest must say its mediaType, else it is refused with 405", reported+", and said in containers/image"),
		MaxRoot:     commonRoot,
		MaxLayer:    Limit{52_000 << 20, Sure, vendor},
		Notes: []string{
			"repositories must exist before something is pushed to them",
			"tags can be immutable; even the same bytes are refused then",
			"a manifest with an artifactType was refused before June 2024, and is reported as refused once since",
		},
	},
	{
		Name: "ecr-public", Title: "Amazon ECR Public", Hosts: []string{"public.ecr.aws"},
		Forms: forms(
			unlikely(whyEntries, "inferred from Amazon ECR"), unlikely(whyEntries, "inferred from Amazon ECR"),
			likely("", vendor+": OCI 1.1"), unknown(notTried),
		),
		EmptyLayers: unlikely(whyEmpty, "inferred from Amazon ECR"),
		NoMediaType: unlikely("a manifest must say its mediaType", "inferred from Amazon ECR"),
		MaxRoot:     commonRoot,
		MaxLayer:    Limit{10_000 << 20, Sure, vendor},
		Notes:       []string{"repositories must exist before something is pushed to them"},
	},
	{
		Name: "acr", Title: "Azure Container Registry", Hosts: []string{"*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"},
		Forms: forms(
			likely("", reported+", in 2021; refused now and then in 2020, which the vendor called a bug"),
			likely("", "inferred from the Docker list"),
			likely("", vendor+": artifacts of any type"),
			unknown(notTried),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: unknown(notTried),
		MaxRoot:     Limit{4 << 20, Sure, vendor},
		MaxLayer:    Limit{200 << 30, Sure, vendor},
	},
	{
		Name: "gcr", Title: "Google Container Registry",
		Forms: forms(
			no(whyEntries, reported+", with 400"),
			no(whyEntries, reported+", with 400 and the type of the first layer"),
			likely("", "inferred from the words about manifests without layers"),
			unknown(notTried),
		),
		EmptyLayers: no(whyEmpty, reported+", with the words of the refusal"),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    noLimit,
		Notes: []string{
			"it was shut down in March 2025; gcr.io and its like are served by Artifact Registry since (" + vendor + ")",
		},
	},
	{
		Name: "artifact-registry", Aliases: []string{"gar"}, Title: "Google Artifact Registry",
		Hosts: []string{"*-docker.pkg.dev", "gcr.io", "*.gcr.io"},
		Forms: forms(
			unknown(notTried),
			likely("", reported+", in 2021"),
			likely("", reported+", widely used"),
			unknown(notTried),
		),
		EmptyLayers: unlikely(whyEmpty, "inferred from Google Container Registry"),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    noLimit,
		Notes:       []string{"18,000 writes a minute and region (" + vendor + ")"},
	},
	{
		Name: "alibaba", Title: "Alibaba ACR, personal edition", Hosts: []string{"registry*.aliyuncs.com", "*.personal.cr.aliyuncs.com"},
		Forms: forms(
			unknown(notTried),
			unlikely("the push never ends", reported+", once"),
			unlikely("it takes configs of images only and says 'unknown manifest class'",
				reported+", by four; the words are those of distribution's policy for classes, measured with 2.8.2").aboutConfig(),
			unlikely("it takes configs of images only", "inferred from the artifact").aboutConfig(),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    noLimit,
		Notes: []string{
			"a registry with distribution's policy for classes takes both lists (measured with 2.8.2); whether this one does is not known",
			"names of repositories can't have a slash of their own",
			"nothing is known of the enterprise edition",
		},
	},
}
