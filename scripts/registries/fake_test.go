package registries

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/registrytest"
)

// TestFake asks distribution 3 and the registry that ocicache's tests use the same things, and wants the same answers:
// statuses, codes, the headers that clients go by, and bodies.
func TestFake(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]settings{
		"as it comes": {}, "platforms none": {platformsNone: true}, "classes": {platformsNone: true, classes: []string{"image"}},
		"read-only": {readOnly: true}, "password": {user: "ann", password: "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := registrytest.New(t, registrytest.Options{
				TakesLists: s.platformsNone, ReadOnly: s.readOnly, Classes: s.classes, User: s.user, Password: s.password,
			})
			want, got := dialogue(t, distribution(t, s)), dialogue(t, fake.Host)
			if len(want) != len(got) || len(want) < 30 {
				t.Fatalf("%d answers, %d of the real one", len(got), len(want))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("answer %d:\n got %s\nwant %s", i, got[i], want[i])
				}
			}
		})
	}
}

// dialogue asks a registry everything that ocicache's tests ask, and returns the answers.
func dialogue(t *testing.T, host string) []string {
	t.Helper()
	c := &client{t: t, base: "http://" + host + "/v2/"}
	c.ask(http.MethodGet, "", nil)
	c.ask(http.MethodGet, "team/cache/tags/list", nil)
	layer, config := []byte("a layer of a cache"), []byte("a cache config")
	for _, raw := range [][]byte{layer, config} {
		c.push("team/cache", raw, digest.FromBytes(raw))
	}
	c.push("team/cache", layer, digest.FromString("something else"))
	d := digest.FromBytes(layer).String()
	for _, of := range []string{"", "bytes=0-3", "bytes=5-", "bytes=100-"} {
		c.header = http.Header{"Range": {of}}
		c.ask(http.MethodGet, "team/cache/blobs/"+d, nil)
	}
	c.header = http.Header{}
	c.ask(http.MethodHead, "team/cache/blobs/"+d, nil)
	c.ask(http.MethodHead, "team/other/blobs/"+d, nil) // blobs belong to a repository
	c.ask(http.MethodGet, "team/cache/blobs/"+digest.FromString("not there").String(), nil)

	c.header = http.Header{"Accept": {
		buildcache.MediaTypeDockerList, buildcache.MediaTypeOCIIndex, buildcache.MediaTypeOCIManifest, buildcache.MediaTypeDockerManifest,
	}}
	for _, tag := range []string{"c", "a", "b"} {
		for _, form := range buildcache.Forms() {
			c.manifest(tag+"-"+string(form), form, root(form, layer, config))
		}
	}
	c.manifest("lacks", buildcache.Artifact, root(buildcache.Artifact, []byte("a layer that is not there"), config))
	c.manifest("large", buildcache.Artifact, append(root(buildcache.Artifact, layer, config), bytes.Repeat([]byte(" "), 4<<20)...))
	c.manifest("no-json", buildcache.Artifact, []byte("{"))
	c.manifest("other-type", buildcache.OCIIndex, root(buildcache.Artifact, layer, config))
	c.manifest(digest.FromString("other").String(), buildcache.Artifact, root(buildcache.Artifact, layer, config))
	c.ask(http.MethodGet, "team/cache/manifests/nowhere", nil)
	queries := []string{"", "?n=2", "?n=2&last=a-artifact", "?last=zzz", "?n=0", "?n=100000", "?n=-1"}
	if len(c.answers) < 60 { // nothing was written, and distribution has tags of nothing from the second page on
		queries = queries[:1]
	}
	for _, query := range queries {
		c.ask(http.MethodGet, "team/cache/tags/list"+query, nil)
	}
	c.ask(http.MethodDelete, "team/cache/manifests/"+digest.FromBytes(root(buildcache.Artifact, layer, config)).String(), nil)
	c.ask(http.MethodGet, "team/cache/manifests/a-artifact", nil)
	return c.answers
}

// root makes a root of one layer.
func root(form buildcache.Form, layer, config []byte) []byte {
	describe := func(mediaType string, raw []byte) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":"%s","size":%d}`, mediaType, digest.FromBytes(raw), len(raw))
	}
	l, c := describe(buildcache.LayerMediaType(form, buildcache.Gzip), layer), describe(buildcache.MediaTypeConfig, config)
	if form.IsList() {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s]}`, form.MediaType(), l, c)
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, form.MediaType(), c, l)
}

// client asks and writes down the answers.
type client struct {
	t       *testing.T
	base    string
	header  http.Header
	answers []string
}

// ask notes the answer to a request, and returns where it points to.
func (c *client) ask(method, path string, body []byte) string {
	c.t.Helper()
	url := path
	if !strings.HasPrefix(path, "http://") {
		url = c.base + path
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for name, values := range c.header {
		if values[0] != "" {
			request.Header[name] = values
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	raw, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // it was read to its end
	if err != nil {
		c.t.Fatal(err)
	}
	note := fmt.Sprintf("%s %s: %d", method, strings.TrimPrefix(strings.Split(url, "/uploads/")[0], c.base), response.StatusCode)
	for _, name := range []string{"Docker-Content-Digest", "Content-Range", "Link"} {
		if value := response.Header.Get(name); value != "" {
			note += fmt.Sprintf(" %s=%s", name, value)
		}
	}
	if response.StatusCode < 300 {
		if method == http.MethodHead {
			note += fmt.Sprint(" length=", response.ContentLength)
		}
		c.answers = append(c.answers, note+" "+strings.TrimSpace(string(raw)))
	} else {
		c.answers = append(c.answers, note+" "+codes(raw))
	}
	return response.Header.Get("Location")
}

// push uploads a blob.
func (c *client) push(repository string, raw []byte, as digest.Digest) {
	c.t.Helper()
	location := c.ask(http.MethodPost, repository+"/blobs/uploads/", nil)
	if location == "" {
		return
	}
	location = c.ask(http.MethodPatch, location, raw)
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	c.ask(http.MethodPut, location+separator+"digest="+as.String(), nil)
	c.ask(http.MethodPatch, location, raw) // it has ended
}

// manifest pushes a root and looks at it.
func (c *client) manifest(reference string, form buildcache.Form, raw []byte) {
	c.t.Helper()
	c.header.Set("Content-Type", form.MediaType())
	c.ask(http.MethodPut, "team/cache/manifests/"+reference, raw)
	c.header.Del("Content-Type")
	c.ask(http.MethodHead, "team/cache/manifests/"+reference, nil)
	c.ask(http.MethodGet, "team/cache/manifests/"+reference, nil)
}

// codes returns the codes of the errors in an answer.
func codes(raw []byte) string {
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(raw, &answer) != nil {
		return ""
	}
	var all []string
	for _, e := range answer.Errors {
		all = append(all, e.Code+" "+e.Message)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
