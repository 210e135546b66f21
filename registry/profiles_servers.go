package registry

const (
	whyLooks    = "it looks for an image behind every entry of a list, and answers 404"
	whyOCIOnly  = "Docker's media types are refused with 415, unless its administrator sets http.compat to docker2s2"
	whyComplete = whyEntries + "; its administrator can set validation.manifests.indexes.platforms to none"
)

// hostedProfiles are registries of services for developers, some of which can be self-hosted as well.
var hostedProfiles = []Profile{
	{
		Name: "docker-hub", Title: "Docker Hub",
		Hosts: []string{"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"},
		Forms: forms(
			likely("", reported+", in 2021"),
			unknown(reported+": taken in 2021, refused with 400 in April 2023, nothing since"),
			yes(reported+": such caches lie there"),
			unknown(notTried),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    noLimit,
		Notes:       []string{"manifests that are read count against the limit for pulls; too many are answered with 429"},
	},
	{
		Name: "ghcr", Title: "GitHub Container Registry", Hosts: []string{"ghcr.io"},
		Forms: forms(
			likely("", reported+", since December 2020"),
			likely("", reported+", since December 2020; one in 2026 says that it is refused"),
			yes(reported+", widely used"),
			unknown(notTried),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    Limit{10_000_000_000, Sure, vendor},
		Notes:       []string{"an upload may take ten minutes (" + vendor + ")"},
	},
	{
		Name: "gitlab", Title: "GitLab", Hosts: []string{"registry.gitlab.com"},
		Forms: forms(
			yes("measured with its registry of 2021 and 4.32, on files and on the database"),
			yes("measured with its registry of 2021 and 4.32, on files and on the database"),
			yes("measured with its registry of 2021 and 4.32, on files and on the database"),
			yes("measured with its registry of 2021 and 4.32, on files and on the database"),
		),
		EmptyLayers: yes("measured with its registry of 2021 and 4.32"),
		NoMediaType: yes("measured with its registry of 2021 and 4.32"),
		MaxRoot:     measuredRoot("its registry of 2021 and 4.32; an administrator may set a lower one"),
		MaxLayer:    noLimit,
		Notes: []string{
			"with the metadata database a list without a cache config, and an unknown artifactType, are refused with 400",
			"a subject must exist",
		},
	},
	{
		Name: "artifactory", Title: "JFrog Artifactory", Hosts: []string{"*.jfrog.io"},
		Forms: forms(
			unlikely("the list is refused", reported+", in 2021"),
			unknown(notTried),
			unknown(vendor+" shows a cache in it, but not in which form"),
			unknown(notTried),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    noLimit,
	},
	{
		Name: "nexus", Title: "Sonatype Nexus",
		Forms: forms(
			unlikely("it answered 500, up to 3.26 at least", reported+", in 2020 and 2022"),
			unknown(notTried),
			likely("uploads of blobs failed now and then", reported+", with 3.90"),
			unknown(notTried),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    noLimit,
		Notes:       []string{"OCI media types are taken since 3.23"},
	},
}

// serverProfiles are registries that are self-hosted.
var serverProfiles = []Profile{
	{
		Name: "harbor", Title: "Harbor",
		Forms: forms(
			no(whyLooks, "source read, up to August 2026, and "+reported+" since 2021"),
			no(whyLooks, "source read, up to August 2026, and "+reported+" since 2021"),
			likely("", "source read, and "+reported),
			unknown(notTried),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: likely("", "inferred from the distribution 2.8 behind it"),
		MaxRoot:     Limit{4 << 20, Sure, "source read"},
		MaxLayer:    noLimit,
		Notes:       []string{"rules can make tags immutable; moving one is refused with 412"},
	},
	{
		Name: "openshift", Title: "OpenShift's internal registry",
		Hosts: []string{"image-registry.openshift-image-registry.svc", "default-route-openshift-image-registry.*"},
		Forms: forms(
			unlikely(whyEntries, reported+", in 2020, and source read: it stores lists as distribution 3 does"),
			unlikely(whyEntries, "source read: it stores lists as distribution 3 does"),
			unknown("source read: it makes an object of the config, which may fail for one that is no image's"),
			unknown(notTried),
		),
		EmptyLayers: unknown(notTried),
		NoMediaType: unknown(notTried),
		MaxRoot:     commonRoot,
		MaxLayer:    noLimit,
		Notes:       []string{"it compares the sizes of layers with those in the manifest"},
	},
	{
		Name: "gitea", Title: "Gitea",
		Forms: forms(
			no(whyEntries, "source read, 1.27"),
			no(whyEntries, "source read, 1.27, and "+reported),
			likely("", "source read, 1.27"),
			likely("", "source read, 1.27"),
		),
		EmptyLayers: likely("", "source read, 1.27"),
		NoMediaType: likely("", "source read, 1.27"),
		MaxRoot:     Limit{10 << 20, Sure, "source read, 1.27"},
		MaxLayer:    noLimit,
		Notes:       []string{"it compares the sizes of layers with those in the manifest"},
	},
	{
		Name: "zot", Title: "zot",
		Forms: forms(
			unlikely(whyOCIOnly, "measured with 2.1"),
			yes("measured with 2.1"),
			yes("measured with 2.1"),
			unlikely(whyOCIOnly, "measured with 2.1"),
		),
		EmptyLayers: yes("measured with 2.1"),
		NoMediaType: yes("measured with 2.1"),
		MaxRoot:     measuredRoot("2.1"),
		MaxLayer:    noLimit,
		Notes:       []string{"it takes manifests whose layers are missing", "its search and web interface stumble over a cache that is an index"},
	},
	{
		Name: "distribution-2", Title: "CNCF distribution 2 (registry:2)",
		Forms: forms(
			yes("measured with 2.8.2"), yes("measured with 2.8.2"), yes("measured with 2.8.2"), yes("measured with 2.8.2"),
		),
		EmptyLayers: yes("measured with 2.8.2"),
		NoMediaType: yes("measured with 2.8.2"),
		MaxRoot:     measuredRoot("2.8.2"),
		MaxLayer:    noLimit,
		Notes:       []string{"with policy.repository.classes it refuses artifacts with 403 and takes lists"},
	},
	{
		Name: "distribution-3", Title: "CNCF distribution 3 (registry:3)",
		Forms: forms(
			no(whyComplete, "measured with 3.1.2"),
			no(whyComplete, "measured with 3.1.2"),
			yes("measured with 3.1.2"),
			yes("measured with 3.1.2"),
		),
		EmptyLayers: yes("measured with 3.1.2"),
		NoMediaType: yes("measured with 3.1.2"),
		MaxRoot:     measuredRoot("3.1.2"),
		MaxLayer:    noLimit,
	},
}
