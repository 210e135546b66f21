package registrytest_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/registrytest"
)

// client talks to a registry in plain HTTP.
type client struct {
	t      *testing.T
	server *registrytest.Server
	http   *http.Client
	header http.Header
}

func newClient(t *testing.T, server *registrytest.Server) *client {
	transport := &http.Transport{DisableKeepAlives: true} // the transport repeats requests on old connections by itself
	return &client{t: t, server: server, http: &http.Client{Transport: transport}, header: http.Header{}}
}

// try asks and returns status, header and body, or how the connection broke.
func (c *client) try(method, path, contentType string, body []byte) (int, http.Header, []byte, error) {
	c.t.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = c.server.URL + path
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header = c.header.Clone()
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // it was read to its end
	return response.StatusCode, response.Header, answer, err
}

// do asks and wants a whole answer.
func (c *client) do(method, path, contentType string, body []byte) (int, string) {
	c.t.Helper()
	status, _, answer, err := c.try(method, path, contentType, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return status, string(answer)
}

// push uploads a blob in the way of containers/image: POST, PATCH, PUT. It returns the first status that is no success.
func (c *client) push(raw []byte) (int, error) {
	c.t.Helper()
	location := "/v2/team/cache/blobs/uploads/"
	for _, step := range []struct {
		method string
		body   []byte
	}{{method: http.MethodPost, body: nil}, {method: http.MethodPatch, body: raw}, {method: http.MethodPut, body: nil}} {
		if step.method == http.MethodPut {
			location += "&digest=" + digest.FromBytes(raw).String()
		}
		status, header, _, err := c.try(step.method, location, "application/octet-stream", step.body)
		if err != nil || status >= 300 {
			return status, err
		}
		location = header.Get("Location")
	}
	return http.StatusCreated, nil
}

// manifest makes a root of one layer and a cache config, and pushes both blobs.
func (c *client) manifest(form buildcache.Form) []byte {
	c.t.Helper()
	layer := &buildcache.Root{Form: form, MediaType: form.MediaType()}
	layer.Layers = []buildcache.Descriptor{c.blob(buildcache.LayerMediaType(form, buildcache.Gzip), "a layer")}
	layer.Config = c.blob(buildcache.MediaTypeConfig, "a config")
	raw, err := json.Marshal(layer)
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

func (c *client) blob(mediaType, text string) buildcache.Descriptor {
	c.t.Helper()
	if status, err := c.push([]byte(text)); err != nil || status != http.StatusCreated {
		c.t.Fatalf("push a blob: %d, %v", status, err)
	}
	return buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text))}
}

func (c *client) put(tag string, form buildcache.Form, raw []byte) (int, string) {
	c.t.Helper()
	return c.do(http.MethodPut, "/v2/team/cache/manifests/"+tag, form.MediaType(), raw)
}

// TestStrict holds what each registry answers to each form.
func TestStrict(t *testing.T) {
	t.Parallel()
	const (
		ok       = "201 "
		platform = `400 MANIFEST_INVALID manifest invalid {"message":"failed to parse manifest: manifest data does not match schema: 'platform' is a required property`
		class    = "403 DENIED unknown manifest class for " + buildcache.MediaTypeConfig
		ecr      = "405 UNSUPPORTED Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'"
		config   = `400 MANIFEST_INVALID manifest invalid {"message":"failed to parse manifest: manifest data does not match schema: '` +
			buildcache.MediaTypeConfig + "' is not one of ["
	)
	for name, test := range map[string]struct {
		options        registrytest.Options
		l, x, a, twice string // the answers, and the one to pushing the last manifest again
	}{
		"distribution":        {options: registrytest.Options{}, l: "400 MANIFEST_BLOB_UNKNOWN", x: "400 MANIFEST_BLOB_UNKNOWN", a: ok, twice: ok},
		"distribution, lists": {options: registrytest.Options{TakesLists: true}, l: ok, x: ok, a: ok, twice: ok},
		"classes":             {options: registrytest.Options{TakesLists: true, Classes: []string{"image"}}, l: ok, x: ok, a: class, twice: class},
		"Quay 2020":           {options: registrytest.Options{Strict: registrytest.Quay2020}, l: platform, x: platform, a: config, twice: config},
		"Quay 3.11":           {options: registrytest.Options{Strict: registrytest.Quay311}, l: platform, x: config, a: config, twice: config},
		"Quay 3.12": {
			options: registrytest.Options{Strict: registrytest.Quay312},
			l:       platform,
			x:       `400 MANIFEST_INVALID manifest invalid {"message":"Could not find child manifest with digest`, a: ok, twice: ok,
		},
		"Harbor": {options: registrytest.Options{Strict: registrytest.Harbor}, l: "404 NOT_FOUND artifact team/cache@sha256:", x: "404 NOT_FOUND", a: ok, twice: ok},
		"ECR":    {options: registrytest.Options{Strict: registrytest.ECR}, l: ecr, x: ecr, a: ok, twice: ok},
		"GCR": {
			options: registrytest.Options{Strict: registrytest.GCR},
			l:       "400 MANIFEST_INVALID Manifest list child manifest not supported: ",
			x:       "400 MANIFEST_INVALID Image index child manifest not supported: application/vnd.oci.image.layer.v1.tar+gzip", a: ok, twice: ok,
		},
		"Alibaba": {options: registrytest.Options{Strict: registrytest.Alibaba}, l: ok, x: ok, a: class, twice: class},
		"Gitea":   {options: registrytest.Options{Strict: registrytest.Gitea}, l: "400 MANIFEST_INVALID", x: "400 MANIFEST_INVALID", a: ok, twice: ok},
		"zot": {
			options: registrytest.Options{Strict: registrytest.Zot},
			l:       `415 MANIFEST_INVALID manifest invalid {"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json"}`, x: ok, a: ok, twice: ok,
		},
		"GitLab":            {options: registrytest.Options{Strict: registrytest.GitLab(1 << 20)}, l: ok, x: ok, a: ok, twice: ok},
		"GitLab, small":     {options: registrytest.Options{Strict: registrytest.GitLab(10)}, l: "400 MANIFEST_SIZE_LIMIT", x: "400 MANIFEST_SIZE_LIMIT", a: "400 MANIFEST_SIZE_LIMIT", twice: "400"},
		"Quay, immutable":   {options: registrytest.Options{Strict: registrytest.QuayImmutable}, l: ok, x: ok, a: ok, twice: "409 TAG_IMMUTABLE"},
		"ECR, immutable":    {options: registrytest.Options{Strict: registrytest.ECRImmutable}, l: ok, x: ok, a: ok, twice: "400 TAG_INVALID The image tag 'a' already exists in the 'team/cache'"},
		"Harbor, immutable": {options: registrytest.Options{Strict: registrytest.HarborImmutable}, l: ok, x: ok, a: ok, twice: "412 PRECONDITION"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, registrytest.New(t, test.options))
			for tag, push := range map[string]struct {
				form buildcache.Form
				want string
			}{"l": {form: buildcache.DockerList, want: test.l}, "x": {form: buildcache.OCIIndex, want: test.x}, "a": {form: buildcache.Artifact, want: test.a}} {
				raw := c.manifest(push.form)
				c.pushed(tag, push.form, raw, push.want)
				if tag == "a" {
					c.pushed(tag, push.form, raw, test.twice)
				}
			}
		})
	}
}

// pushed pushes a root, checks the answer, and that the registry then shows what it took and nothing else.
func (c *client) pushed(tag string, form buildcache.Form, raw []byte, want string) {
	c.t.Helper()
	status, body := c.put(tag, form, raw)
	if got := fmt.Sprintf("%d %s", status, errorsOf(body)); !strings.HasPrefix(got, want) {
		c.t.Errorf("%s: %s, want %s", form, got, want)
	}
	c.header.Set("Accept", form.MediaType())
	there, shown := c.do(http.MethodGet, "/v2/team/cache/manifests/"+tag, "", nil)
	if status == http.StatusCreated && (there != http.StatusOK || shown != string(raw)) {
		c.t.Errorf("%s was taken, and then: %d %s", form, there, shown)
	}
	first := !strings.Contains(want, "IMMUTABLE") && !strings.Contains(want, "TAG_INVALID") && !strings.Contains(want, "PRECONDITION")
	if status != http.StatusCreated && first && there != http.StatusNotFound {
		c.t.Errorf("%s was refused, and then: %d %s", form, there, shown)
	}
}

// errorsOf returns code, message and details of the first error in an answer.
func errorsOf(body string) string {
	var parsed struct {
		Errors []struct {
			Code, Message string
			Detail        json.RawMessage
		}
	}
	if json.Unmarshal([]byte(body), &parsed) != nil || len(parsed.Errors) == 0 {
		return body
	}
	e := parsed.Errors[0]
	detail := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(e.Detail))
	return fmt.Sprintf("%s %s %s", e.Code, e.Message, detail)
}

// TestHarborHides checks that a tag stays what it was, though the registry behind Harbor has stored something else.
func TestHarborHides(t *testing.T) {
	t.Parallel()
	c := newClient(t, registrytest.New(t, registrytest.Options{Strict: registrytest.Harbor}))
	old, list := c.manifest(buildcache.Artifact), c.manifest(buildcache.OCIIndex)
	if status, body := c.put("v1", buildcache.Artifact, old); status != http.StatusCreated {
		t.Fatal(status, body)
	}
	if status, _ := c.put("v1", buildcache.OCIIndex, list); status != http.StatusNotFound {
		t.Errorf("the list: %d", status)
	}
	c.header["Accept"] = []string{buildcache.MediaTypeOCIManifest, buildcache.MediaTypeOCIIndex}
	if _, body := c.do(http.MethodGet, "/v2/team/cache/manifests/v1", "", nil); body != string(old) {
		t.Errorf("the tag has %s", body)
	}
	path := "/v2/team/cache/manifests/" + digest.FromBytes(list).String()
	if status, body := c.do(http.MethodGet, path, "", nil); status != http.StatusNotFound || !strings.Contains(body, "NOT_FOUND") {
		t.Errorf("the list is shown: %d %s", status, body)
	}
}

// TestLenient shows what that registry lets pass.
func TestLenient(t *testing.T) {
	t.Parallel()
	c := newClient(t, registrytest.Lenient(t))
	missing := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":"%s","size":1},"layers":[]}`,
		buildcache.MediaTypeOCIManifest, buildcache.MediaTypeConfig, digest.FromString("not there"))
	if status, body := c.put("v1", buildcache.Artifact, []byte(missing)); status != http.StatusCreated {
		t.Error(status, body)
	}
}

func TestBasicAuthentication(t *testing.T) {
	t.Parallel()
	c := newClient(t, registrytest.New(t, registrytest.Options{User: "user", Password: "secret"}))
	for credentials, want := range map[string]int{"": 401, "user:wrong": 401, "user:secret": 200} {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.server.URL+"/v2/", nil)
		if user, password, ok := strings.Cut(credentials, ":"); ok {
			request.SetBasicAuth(user, password)
		}
		c.header = request.Header
		if status, _ := c.do(http.MethodGet, "/v2/", "", nil); status != want {
			t.Errorf("%q: %d, want %d", credentials, status, want)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{User: "user", Password: "secret", Token: true})
	c := newClient(t, server)
	_, header, _, err := c.try(http.MethodGet, "/v2/", "", nil)
	realm, _, found := strings.Cut(strings.TrimPrefix(header.Get("WWW-Authenticate"), `Bearer realm="`), `"`)
	if err != nil || !found {
		t.Fatal(header, err)
	}
	token := func(user, password, scope string) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, realm+"?scope="+scope, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth(user, password)
		c.header = request.Header
		_, body := c.do(http.MethodGet, request.URL.String(), "", nil)
		var answer struct{ Token string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Token
	}
	if got := token("user", "wrong", ""); got != "" {
		t.Error("a token for the wrong password")
	}
	for _, test := range []struct {
		token        string
		method, path string
		status       int
		challenge    string
	}{
		{token: "made up", method: http.MethodGet, path: "/v2/", status: 401, challenge: "invalid_token"},
		{token: token("user", "secret", ""), method: http.MethodGet, path: "/v2/", status: 200, challenge: ""},
		{token: token("user", "secret", "repository:team/cache:pull"), method: http.MethodGet, path: "/v2/team/cache/manifests/v1", status: 404, challenge: ""},
		{token: token("user", "secret", "repository:team/cache:pull"), method: http.MethodPost, path: "/v2/team/cache/blobs/uploads/", status: 401, challenge: "insufficient_scope"},
		{token: token("user", "secret", "repository:team/other:pull,push"), method: http.MethodPost, path: "/v2/team/cache/blobs/uploads/", status: 401, challenge: "repository:team/cache:push"},
		{token: token("user", "secret", "repository:team/cache:pull,push"), method: http.MethodPost, path: "/v2/team/cache/blobs/uploads/", status: 202, challenge: ""},
	} {
		c.header = http.Header{"Authorization": {"Bearer " + test.token}}
		status, header, _, err := c.try(test.method, test.path, "", nil)
		if err != nil || status != test.status || !strings.Contains(header.Get("WWW-Authenticate"), test.challenge) {
			t.Errorf("%s %s: %d %v %v, want %d %s", test.method, test.path, status, header, err, test.status, test.challenge)
		}
	}
	if got := server.TokenRequests(); got != 6 {
		t.Errorf("the token server was asked %d times", got)
	}
	if got := registrytest.Lenient(t).TokenRequests(); got != 0 {
		t.Errorf("without a token server: %d", got)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	c := newClient(t, registrytest.New(t, registrytest.Options{TLS: true}))
	if _, _, _, err := c.try(http.MethodGet, "/v2/", "", nil); err == nil {
		t.Error("an authority that nobody knows is trusted")
	}
	authority, err := os.ReadFile(filepath.Join(c.server.CertDir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	c.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	if status, body := c.do(http.MethodGet, "/v2/", "", nil); status != http.StatusOK {
		t.Error(status, body)
	}
	if !strings.HasPrefix(c.server.URL, "https://127.0.0.1:") || c.server.URL != "https://"+c.server.Host {
		t.Errorf("%s at %s", c.server.Host, c.server.URL)
	}
	c.manifest(buildcache.Artifact) // uploads go to where the registry says, which must be HTTPS as well
}

func TestNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]registrytest.Options{"read-only": {ReadOnly: true}, "proxy": {Strict: registrytest.ReadOnlyProxy}} {
		c := newClient(t, registrytest.New(t, options))
		if status, err := c.push([]byte("a layer")); status != http.StatusMethodNotAllowed || err != nil {
			t.Errorf("%s: %d, %v", name, status, err)
		}
		if status, _ := c.do(http.MethodGet, "/v2/", "", nil); status != http.StatusOK {
			t.Errorf("%s: can't be read: %d", name, status)
		}
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{})
	c := newClient(t, server)
	c.do(http.MethodGet, "/v2/", "", nil)
	c.do(http.MethodGet, "/v2/team/cache/tags/list?n=5", "", nil)
	want := []registrytest.Request{
		{Method: http.MethodGet, Path: "/v2/", Status: 200}, {Method: http.MethodGet, Path: "/v2/team/cache/tags/list", Query: "n=5", Status: 404},
	}
	if got := server.Requests(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v", got)
	}
	if a, b, c := server.Count("", ""), server.Count(http.MethodGet, "^/v2/$"), server.Count(http.MethodPut, ""); a != 2 || b != 1 || c != 0 {
		t.Error(a, b, c)
	}
	server.Forget()
	if got := server.Requests(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
