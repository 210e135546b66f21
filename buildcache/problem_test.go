package buildcache_test

import (
	"encoding/json"
	"regexp"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
)

func TestKinds(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[buildcache.Kind]bool{}
	for _, info := range buildcache.Kinds() {
		if seen[info.Kind] || !name.MatchString(string(info.Kind)) {
			t.Errorf("%q is there twice, or no name", info.Kind)
		}
		seen[info.Kind] = true
		if info.Means == "" || info.Remedy == "" {
			t.Errorf("%s: %+v", info.Kind, info)
		}
		switch info.Effect {
		case buildcache.BuildFails, buildcache.HitsLost, buildcache.RegistryRefuses, buildcache.Waste:
		default:
			t.Errorf("%s has the effect %q", info.Kind, info.Effect)
		}
		if info.Kind.Info() != info {
			t.Errorf("%s: Info gives %+v", info.Kind, info.Kind.Info())
		}
	}
	if unknown := buildcache.Kind("unheard-of").Info(); unknown != (buildcache.KindInfo{Kind: "unheard-of"}) {
		t.Errorf("an unknown kind is %+v", unknown)
	}
}

func TestSeverity(t *testing.T) {
	t.Parallel()
	for effect, want := range map[buildcache.Effect]buildcache.Severity{
		buildcache.BuildFails: buildcache.SeverityError, buildcache.HitsLost: buildcache.SeverityError,
		buildcache.RegistryRefuses: buildcache.SeverityWarning, buildcache.Waste: buildcache.SeverityWarning,
	} {
		p := buildcache.NewProblem(buildcache.BlobMissing, "here", "").WithEffect(effect)
		if p.Severity != want || p.Effect != effect || effect.Severity() != want {
			t.Errorf("%s is a %s", effect, p.Severity)
		}
		if got := buildcache.HasErrors([]buildcache.Problem{{Severity: buildcache.SeverityWarning}, p}); got != (want == buildcache.SeverityError) {
			t.Errorf("%s: HasErrors says %v", effect, got)
		}
	}
	if buildcache.HasErrors(nil) {
		t.Error("no problems have errors")
	}
}

// TestProblemJSON holds the JSON that scripts read.
func TestProblemJSON(t *testing.T) {
	t.Parallel()
	p := buildcache.NewProblem(buildcache.LayerUnused, "root.layers[3]", "").On("sha256:d")
	p.Cache = "latest"
	raw, err := json.Marshal([]buildcache.Problem{p, buildcache.NewProblem(buildcache.RootMissing, "root", "gone")})
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"kind":"layer-unused","effect":"waste","severity":"warning","cache":"latest","where":"root.layers[3]","digest":"sha256:d",` +
		`"detail":"a layer that no result needs","remedy":"nothing breaks; a new export leaves it out"},` +
		`{"kind":"root-missing","effect":"hits-lost","severity":"error","where":"root","detail":"gone",` +
		`"remedy":"tag the root that is there, or take this one from a place that has it; or export the cache again"}]`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
}
