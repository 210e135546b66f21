package registry

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

var allForms = append(buildcache.Forms(), buildcache.DockerManifest)

// TestProfilesAreComplete holds what the table of profiles prints: nothing in it may be without a source.
func TestProfilesAreComplete(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^[a-z][a-z0-9]*([-.][a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, p := range Profiles() {
		for _, n := range append([]string{p.Name}, p.Aliases...) {
			if seen[n] || !name.MatchString(n) {
				t.Errorf("%q is there twice, or no name", n)
			}
			seen[n] = true
			if got, ok := ProfileByName(n); !ok || got.Name != p.Name {
				t.Errorf("%q finds %q", n, got.Name)
			}
		}
		if p.Title == "" || len(p.Forms) != len(allForms) {
			t.Errorf("%s: %+v", p.Name, p)
		}
		for _, form := range allForms {
			checkVerdict(t, p.Name+" "+string(form), p.Takes(form))
		}
		checkVerdict(t, p.Name+" without layers", p.EmptyLayers)
		checkVerdict(t, p.Name+" without mediaType", p.NoMediaType)
		for _, limit := range []Limit{p.MaxRoot, p.MaxLayer} {
			if limit.Source == "" || limit.Bytes < 0 || (limit.Bytes == 0) != (limit.Confidence == Unknown) {
				t.Errorf("%s: %+v", p.Name, limit)
			}
			checkConfidence(t, p.Name, limit.Confidence)
		}
		for _, host := range p.Hosts {
			example := strings.ReplaceAll(host, "*", "some.where-1")
			if _, err := path.Match(host, ""); err != nil || host != strings.ToLower(host) {
				t.Errorf("%s: host %q: %v", p.Name, host, err)
			}
			if got, ok := ProfileForHost(example); !ok || got.Name != p.Name {
				t.Errorf("%s has the profile %q, want %q", example, got.Name, p.Name)
			}
		}
	}
	if _, ok := ProfileByName("unheard-of"); ok {
		t.Error("there is a profile of a name that nobody has")
	}
}

func checkConfidence(t *testing.T, where string, c Confidence) {
	t.Helper()
	if c != Sure && c != Likely && c != Unknown {
		t.Errorf("%s: confidence %q", where, c)
	}
}

func checkVerdict(t *testing.T, where string, v Verdict) {
	t.Helper()
	checkConfidence(t, where, v.Confidence)
	switch {
	case v.Source == "", strings.Contains(v.Source+v.Why, "://"):
		t.Errorf("%s: the source is %q", where, v.Source)
	case v.Confidence == Unknown && (v.Takes || v.Why != ""):
		t.Errorf("%s: what is unknown can't be said: %+v", where, v)
	case !v.Takes && v.Confidence != Unknown && v.Why == "":
		t.Errorf("%s: refused, and not said why", where)
	case v.About != "" && v.Takes:
		t.Errorf("%s: taken, and a refusal about %s", where, v.About)
	}
}

// TestProfilesSay holds the verdicts themselves: docker-list, oci-index, artifact, docker-manifest; no layers, no
// mediaType; root and layer in bytes.
func TestProfilesSay(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"quay-3.12":         "no no yes no; unknown yes; 4194304 20000000000",
		"quay-3.11":         "no no unlikely no; unknown unknown; 4194304 20000000000",
		"quay-2020":         "no no unlikely no; unknown unknown; 4194304 20000000000",
		"ecr":               "no no yes unknown; no no; 4194304 54525952000",
		"ecr-public":        "unlikely unlikely likely unknown; unlikely unlikely; 4194304 10485760000",
		"acr":               "likely likely likely unknown; unknown unknown; 4194304 214748364800",
		"gcr":               "no no likely unknown; no unknown; 4194304 0",
		"artifact-registry": "unknown likely likely unknown; unlikely unknown; 4194304 0",
		"alibaba":           "unknown unlikely unlikely unlikely; unknown unknown; 4194304 0",
		"docker-hub":        "likely unknown yes unknown; unknown unknown; 4194304 0",
		"ghcr":              "likely likely yes unknown; unknown unknown; 4194304 10000000000",
		"gitlab":            "yes yes yes yes; yes yes; 4194304 0",
		"artifactory":       "unlikely unknown unknown unknown; unknown unknown; 4194304 0",
		"nexus":             "unlikely unknown likely unknown; unknown unknown; 4194304 0",
		"harbor":            "no no likely unknown; unknown likely; 4194304 0",
		"openshift":         "unlikely unlikely unknown unknown; unknown unknown; 4194304 0",
		"gitea":             "no no likely likely; likely likely; 10485760 0",
		"zot":               "unlikely yes yes unlikely; yes yes; 4194304 0",
		"distribution-2":    "yes yes yes yes; yes yes; 4194304 0",
		"distribution-3":    "no no yes yes; yes yes; 4194304 0",
	}
	for _, p := range Profiles() {
		forms := make([]string, len(allForms))
		for i, form := range allForms {
			forms[i] = p.Takes(form).String()
		}
		got := fmt.Sprintf("%s; %s %s; %d %d", strings.Join(forms, " "), p.EmptyLayers, p.NoMediaType, p.MaxRoot.Bytes, p.MaxLayer.Bytes)
		if got != want[p.Name] {
			t.Errorf("%s\ngot  %s\nwant %s", p.Name, got, want[p.Name])
		}
		delete(want, p.Name)
	}
	if len(want) > 0 {
		t.Errorf("no profiles for %v", want)
	}
}

// TestProfilesAreCopies checks that nobody can change a profile for others.
func TestProfilesAreCopies(t *testing.T) {
	t.Parallel()
	mine, _ := ProfileByName("zot")
	mine.Forms[buildcache.Artifact] = Verdict{}
	if theirs, _ := ProfileByName("zot"); !theirs.Takes(buildcache.Artifact).Takes {
		t.Error("a profile was changed")
	}
}

func TestProfileForHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"quay.io": "quay-3.12", "quay.io:443": "quay-3.12", "Quay.IO": "quay-3.12", "quay.io.": "quay-3.12",
		"quay.io.example.com": "", "notquay.io": "", "www.quay.io": "",
		"123456789012.dkr.ecr.eu-central-1.amazonaws.com":   "ecr",
		"123456789012.dkr.ecr-fips.us-east-1.amazonaws.com": "ecr",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":  "ecr",
		"123456789012.dkr-ecr.eu-central-1.on.aws":          "ecr",
		"s3.eu-central-1.amazonaws.com":                     "",
		"1.dkr.ecr.eu-central-1.amazonaws.com.evil.example": "",
		"public.ecr.aws":                        "ecr-public",
		"team.azurecr.io":                       "acr",
		"azurecr.io":                            "",
		"gcr.io":                                "artifact-registry",
		"eu.gcr.io":                             "artifact-registry",
		"europe-west3-docker.pkg.dev":           "artifact-registry",
		"europe-west3-npm.pkg.dev":              "",
		"ghcr.io":                               "ghcr",
		"registry.gitlab.com":                   "gitlab",
		"gitlab.com":                            "",
		"docker.io":                             "docker-hub",
		"team.jfrog.io":                         "artifactory",
		"registry.cn-hangzhou.aliyuncs.com":     "alibaba",
		"registry-vpc.cn-hangzhou.aliyuncs.com": "alibaba",
		"crpi-abc.cn-hangzhou.personal.cr.aliyuncs.com":       "alibaba",
		"team-registry.cn-hangzhou.cr.aliyuncs.com":           "",
		"image-registry.openshift-image-registry.svc:5000":    "openshift",
		"default-route-openshift-image-registry.apps.example": "openshift",
		"localhost:5000": "",
		"[::1]:5000":     "",
		"":               "",
	} {
		if got, ok := ProfileForHost(host); got.Name != want || ok != (want != "") {
			t.Errorf("%q has the profile %q, want %q", host, got.Name, want)
		}
	}
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	const (
		l, x = buildcache.DockerList, buildcache.OCIIndex
		a, d = buildcache.Artifact, buildcache.DockerManifest
	)
	for _, test := range []struct {
		profile string
		source  buildcache.Form
		want    []buildcache.Form
	}{
		{profile: "distribution-2", source: l, want: []buildcache.Form{l, a, x}},
		{profile: "distribution-2", source: x, want: []buildcache.Form{x, a, l}},
		{profile: "distribution-2", source: d, want: []buildcache.Form{d, a, x, l}},
		{profile: "distribution-3", source: l, want: []buildcache.Form{a}},
		{profile: "distribution-3", source: d, want: []buildcache.Form{d, a}},
		{profile: "quay", source: l, want: []buildcache.Form{a}},
		{profile: "quay", source: d, want: []buildcache.Form{a}},
		{profile: "quay-2020", source: l, want: []buildcache.Form{a}},
		{profile: "zot", source: l, want: []buildcache.Form{a, x, l}},
		{profile: "zot", source: x, want: []buildcache.Form{x, a, l}},
		{profile: "ghcr", source: l, want: []buildcache.Form{a, l, x}},
		{profile: "ghcr", source: a, want: []buildcache.Form{a, x, l}},
		{profile: "docker-hub", source: x, want: []buildcache.Form{a, l, x}},
		{profile: "artifact-registry", source: l, want: []buildcache.Form{a, x, l}},
		{profile: "artifactory", source: l, want: []buildcache.Form{a, x, l}},
		{profile: "alibaba", source: a, want: []buildcache.Form{l, a, x}},
		{profile: "alibaba", source: l, want: []buildcache.Form{l, a, x}},
	} {
		p, ok := ProfileByName(test.profile)
		if got := p.Candidates(test.source); !ok || !slices.Equal(got, test.want) {
			t.Errorf("%s, from %s: %v, want %v", test.profile, test.source, got, test.want)
		}
	}
	var nothing Profile
	if got := nothing.Candidates(x); !slices.Equal(got, []buildcache.Form{a, x, l}) {
		t.Errorf("an unknown registry gets %v", got)
	}
}

func loadCache(t *testing.T, name string) *layout.Cache {
	t.Helper()
	dir, err := layout.Open("../testdata/caches/"+name, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := layout.OneCache(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := layout.Load(t.Context(), dir, entry)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// cacheOf makes a cache of a root's text.
func cacheOf(t *testing.T, root string) *layout.Cache {
	t.Helper()
	cache := &layout.Cache{RawRoot: []byte(root), Config: &buildcache.Config{}}
	var err error
	if cache.Root, err = buildcache.ParseRoot(cache.RawRoot); err != nil {
		t.Fatal(err)
	}
	return cache
}

// TestCheck produces every kind of problem that is about registries only, as errors and as warnings.
func TestCheck(t *testing.T) {
	t.Parallel()
	caches := map[string]*layout.Cache{
		"L": loadCache(t, "docker-list-gzip"), "X": loadCache(t, "oci-index-gzip"), "A": loadCache(t, "artifact-gzip"),
		"zstd": loadCache(t, "artifact-zstd"), "estargz": loadCache(t, "artifact-estargz"),
	}
	config := `{"mediaType":"` + buildcache.MediaTypeConfig + `","digest":"` + digest.FromString("config").String() + `","size":6}`
	artifact := func(head, layers string) *layout.Cache {
		return cacheOf(t, `{"schemaVersion":2,`+head+`"config":`+config+`,"layers":[`+layers+`]}`)
	}
	ociManifest := `"mediaType":"` + buildcache.MediaTypeOCIManifest + `",`
	layer := func(size int64) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%s","size":%d}`, digest.FromString("layer"), size)
	}
	caches["empty"] = artifact(ociManifest, "")
	caches["typeless"] = cacheOf(t, `{"schemaVersion":2,"manifests":[`+layer(5)+","+config+`]}`)
	caches["huge layer"] = artifact(ociManifest, layer(5)+","+layer(100<<30))
	caches["D"] = artifact(`"mediaType":"`+buildcache.MediaTypeDockerManifest+`",`, layer(5))
	caches["huge root"] = artifact(ociManifest, layer(5))
	caches["huge root"].RawRoot = make([]byte, 4<<20+1)

	for _, test := range []struct{ profile, cache, want string }{
		{profile: "distribution-2", cache: "L", want: ""},
		{profile: "distribution-2", cache: "empty", want: ""},
		{profile: "distribution-2", cache: "typeless", want: ""},
		{profile: "distribution-3", cache: "L", want: "error registry-form"},
		{profile: "distribution-3", cache: "X", want: "error registry-form"},
		{profile: "distribution-3", cache: "A", want: ""},
		{profile: "distribution-3", cache: "huge root", want: "error registry-root-size"},
		{profile: "quay", cache: "L", want: "error registry-form"},
		{profile: "quay", cache: "A", want: ""},
		{profile: "quay", cache: "zstd", want: ""},
		{profile: "quay", cache: "estargz", want: ""},
		{profile: "quay", cache: "D", want: "error registry-config-type"},
		{profile: "quay", cache: "huge root", want: "warning registry-root-size"},
		{profile: "quay", cache: "huge layer", want: "warning registry-layer-size"},
		{profile: "quay-3.11", cache: "A", want: "warning registry-config-type"},
		{profile: "quay-3.11", cache: "X", want: "error registry-form"},
		{profile: "ecr", cache: "A", want: ""},
		{profile: "ecr", cache: "empty", want: "error root-no-layers"},
		{profile: "ecr", cache: "typeless", want: "error registry-form, error root-no-media-type"},
		{profile: "ecr", cache: "huge layer", want: "error registry-layer-size"},
		{profile: "ecr-public", cache: "empty", want: "warning root-no-layers"},
		{profile: "ghcr", cache: "huge layer", want: "error registry-layer-size"},
		{profile: "ghcr", cache: "X", want: ""},
		{profile: "acr", cache: "huge layer", want: ""},
		{profile: "alibaba", cache: "A", want: "warning registry-config-type"},
		{profile: "docker-hub", cache: "X", want: "warning registry-form"},
		{profile: "zot", cache: "L", want: "warning registry-form"},
		{profile: "gitea", cache: "huge root", want: ""},
		{profile: "harbor", cache: "L", want: "error registry-form"},
	} {
		p, _ := ProfileByName(test.profile)
		var got []string
		for _, problem := range p.Check(caches[test.cache]) {
			got = append(got, fmt.Sprintf("%s %s", problem.Severity, problem.Kind))
			if problem.Effect != buildcache.RegistryRefuses || !strings.Contains(problem.Detail, p.Title) || problem.Remedy == "" || problem.Where == "" {
				t.Errorf("%s, %s: %+v", test.profile, test.cache, problem)
			}
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%s, %s: %v, want %s", test.profile, test.cache, got, test.want)
		}
	}
}

// TestCheckSays holds the words for one of each.
func TestCheckSays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ profile, cache, detail, remedy string }{
		{
			profile: "distribution-3", cache: "docker-list-gzip",
			detail: "CNCF distribution 3 (registry:3) refuses the form docker-list: the entries of a list must be manifests, those of a cache are " +
				"layers and a config; its administrator can set validation.manifests.indexes.platforms to none",
			remedy: "convert it with --to artifact",
		},
		{
			profile: "quay-2020", cache: "artifact-gzip",
			detail: "Quay before 3.11 probably refuses the form artifact: " + quaySetting,
			remedy: "no form of a cache is known to be taken there; use another registry",
		},
		{profile: "docker-hub", cache: "oci-index-gzip", detail: "it is not known whether Docker Hub takes the form oci-index", remedy: "convert it with --to artifact"},
	} {
		p, _ := ProfileByName(test.profile)
		problems := p.Check(loadCache(t, test.cache))
		if len(problems) != 1 || problems[0].Detail != test.detail || problems[0].Remedy != test.remedy {
			t.Errorf("%s: %+v", test.profile, problems)
		}
	}
}

// TestCheckIsBounded checks that a root of many layers gives no endless report.
func TestCheckIsBounded(t *testing.T) {
	t.Parallel()
	cache := loadCache(t, "artifact-gzip")
	layer := cache.Root.Layers[0]
	layer.Size = 1 << 40
	cache.Root.Layers = slices.Repeat([]buildcache.Descriptor{layer}, 500)
	p, _ := ProfileByName("ecr")
	if got := len(p.Check(cache)); got != maxLayerProblems {
		t.Errorf("%d problems", got)
	}
}
