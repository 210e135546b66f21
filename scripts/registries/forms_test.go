package registries

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// caches are the same cache as BuildKit exports it in each form.
var caches = map[buildcache.Form]string{
	buildcache.DockerList: "docker-list-gzip", buildcache.OCIIndex: "oci-index-gzip", buildcache.Artifact: "artifact-gzip",
}

// want says what a registry makes of a form.
type want struct {
	about registry.About // "" where it is taken
	says  string         // a part of what the registry itself says
}

var servers = []struct {
	name  string
	start func(t *testing.T) string
	forms map[buildcache.Form]want
}{
	{
		name:  "distribution 3",
		start: func(t *testing.T) string { return distribution(t, settings{}) },
		forms: map[buildcache.Form]want{
			buildcache.DockerList: {about: registry.AboutForm, says: "blob unknown to registry"},
			buildcache.OCIIndex:   {about: registry.AboutForm, says: "blob unknown to registry"},
			buildcache.Artifact:   {},
		},
	},
	{
		name:  "distribution 3, platforms none",
		start: func(t *testing.T) string { return distribution(t, settings{platformsNone: true}) },
		forms: map[buildcache.Form]want{buildcache.DockerList: {}, buildcache.OCIIndex: {}, buildcache.Artifact: {}},
	},
	{
		name: "distribution 3, platforms none, with classes",
		start: func(t *testing.T) string {
			return distribution(t, settings{platformsNone: true, classes: []string{"image"}})
		},
		forms: map[buildcache.Form]want{
			buildcache.DockerList: {}, buildcache.OCIIndex: {},
			buildcache.Artifact: {about: registry.AboutConfigType, says: "unknown manifest class for " + buildcache.MediaTypeConfig},
		},
	},
	{
		name:  "distribution 3, read-only",
		start: func(t *testing.T) string { return distribution(t, settings{readOnly: true}) },
		forms: map[buildcache.Form]want{
			buildcache.DockerList: {about: registry.AboutReadOnly}, buildcache.OCIIndex: {about: registry.AboutReadOnly},
			buildcache.Artifact: {about: registry.AboutReadOnly},
		},
	},
	{
		name:  "docker-registry 2.8.2",
		start: dockerRegistry,
		forms: map[buildcache.Form]want{buildcache.DockerList: {}, buildcache.OCIIndex: {}, buildcache.Artifact: {}},
	},
}

// TestForms pushes the three forms to each registry. What is taken comes back as it was; what is not is refused by a
// typed error, and leaves no tag.
func TestForms(t *testing.T) {
	t.Parallel()
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			host := server.start(t)
			for form, want := range server.forms {
				dir, cache := corpus(t, caches[form])
				repository := open(t, host, registry.Options{})
				tag := string(form)
				_, err := convert.Convert(t.Context(), dir, cache, repository, tag, convert.Options{})
				if want.about != "" {
					wantRefusal(t, err, form, want)
					if found, err := repository.Resolve(t.Context(), tag); found != nil || err != nil {
						t.Errorf("%s: the tag is there: %v %v", form, found, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", form, err)
					continue
				}
				wantBack(t, host, tag, dir)
			}
		})
	}
}

func wantRefusal(t *testing.T, err error, form buildcache.Form, want want) {
	t.Helper()
	var refused *registry.RefusedError
	if !errors.As(err, &refused) || refused.About != want.about || refused.NextStep == "" {
		t.Errorf("%s: got %v, want a refusal about %s", form, err, want.about)
		return
	}
	if want.about == registry.AboutForm && (refused.Form != form || !refused.IsAboutForm() || refused.Try != buildcache.Artifact) {
		t.Errorf("%s: %+v", form, refused)
	}
	if !strings.Contains(err.Error(), want.says) {
		t.Errorf("%s: %q is not in %q", form, want.says, err)
	}
}

// TestOtherForms finds a form that distribution 3 takes by trying.
func TestOtherForms(t *testing.T) {
	t.Parallel()
	dir, cache := corpus(t, caches[buildcache.DockerList])
	result, err := convert.Convert(t.Context(), dir, cache, open(t, distribution(t, settings{}), registry.Options{}), "main", convert.Options{
		Form: convert.AutoForm, Rules: listFirst{},
	})
	if err != nil || result.To.Form != buildcache.Artifact {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestPassword has distribution ask who we are.
func TestPassword(t *testing.T) {
	t.Parallel()
	host := distribution(t, settings{user: "ann", password: "secret"})
	dir, cache := corpus(t, caches[buildcache.Artifact])
	var auth *registry.AuthError
	_, err := convert.Convert(t.Context(), dir, cache, open(t, host, registry.Options{Creds: "ann:hunter2"}), "main", convert.Options{})
	if !errors.As(err, &auth) || strings.Contains(fmt.Sprint(err), "hunter2") {
		t.Errorf("got %v", err)
	}
	if _, err := convert.Convert(t.Context(), dir, cache, open(t, host, registry.Options{Creds: "ann:secret"}), "main", convert.Options{}); err != nil {
		t.Error(err)
	}
}

// open returns the tests' repository in a registry.
func open(t *testing.T, host string, o registry.Options) *registry.Repository {
	t.Helper()
	verify := false
	o.TLSVerify = &verify
	repository, err := registry.Open(host+"/team/cache", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := repository.Close(); err != nil {
			t.Error(err)
		}
	})
	return repository
}

// corpus opens one of BuildKit's own exports.
func corpus(t *testing.T, name string) (*layout.Dir, layout.Entry) {
	t.Helper()
	dir, err := layout.Open(filepath.Join("..", "..", "testdata", "caches", name), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := layout.OneCache(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir, cache
}

// wantBack pulls a tag, and compares every file with those that it came from.
func wantBack(t *testing.T, host, tag string, from *layout.Dir) {
	t.Helper()
	repository := open(t, host, registry.Options{})
	cache, err := layout.OneCache(t.Context(), repository, tag)
	if err != nil {
		t.Error(err)
		return
	}
	back, err := layout.Create(t.Context(), filepath.Join(t.TempDir(), "back"), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := convert.Convert(t.Context(), repository, cache, back, tag, convert.Options{}); err != nil {
		t.Error(err)
		return
	}
	files, err := os.ReadDir(filepath.Join(from.String(), "blobs", "sha256"))
	if err != nil || len(files) == 0 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		want, err := os.ReadFile(filepath.Join(from.String(), "blobs", "sha256", file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(back.String(), "blobs", "sha256", file.Name()))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s came back with %d bytes, want %d: %v", file.Name(), len(got), len(want), err)
		}
	}
}

// listFirst are rules that try a cache's own form before the one that is taken.
type listFirst struct{ registry.Profile }

func (listFirst) Candidates(f buildcache.Form) []buildcache.Form {
	return []buildcache.Form{f, buildcache.Artifact}
}
