package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
)

// pusher pushes through containers/image, without what this package puts around it.
type pusher struct {
	t    *testing.T
	host string
	to   *client
}

func newPusher(t *testing.T, server *registrytest.Server, creds ...string) *pusher {
	t.Helper()
	no := false
	r, err := Open(server.Host+"/team/cache", Options{TLSVerify: &no, Creds: strings.Join(creds, "")})
	if err != nil {
		t.Fatal(err)
	}
	return &pusher{t: t, host: server.Host, to: r.writes}
}

// blob pushes bytes, and returns what explained makes of what the registry says.
func (p *pusher) blob(raw []byte) error {
	p.t.Helper()
	blob := buildcache.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return p.explained(blob, p.to.push(p.t.Context(), blob, io.NopCloser(bytes.NewReader(raw))))
}

// root pushes a root under a tag.
func (p *pusher) root(tag string, raw []byte) error {
	p.t.Helper()
	mediaType, err := buildcache.DetectMediaType(raw)
	if err != nil {
		p.t.Fatal(err)
	}
	root := buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return p.explained(root, p.to.put(p.t.Context(), tag, raw))
}

// explained checks that nothing is lost on the way.
func (p *pusher) explained(sent buildcache.Descriptor, err error) error {
	p.t.Helper()
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("push: %w", errors.Join(err)) // as with an error of closing
	out := explained(p.host, sent, wrapped)
	if !errors.Is(out, wrapped) || !strings.Contains(out.Error(), err.Error()) {
		p.t.Errorf("%v became %v", err, out)
	}
	if again := explained(p.host, sent, out); again != out { //nolint:errorlint // the very same
		p.t.Errorf("explained again: %v", again)
	}
	return out
}

// cache pushes a cache of the corpus with all of its blobs.
func (p *pusher) cache(tag, name string) error {
	p.t.Helper()
	dir, err := layout.Open("../testdata/caches/"+name, layout.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	cache := loadCache(p.t, name)
	for _, blob := range append(cache.Root.Layers, cache.Root.Config) {
		raw, err := layout.ReadBlob(p.t.Context(), dir, blob, 1<<30)
		if err != nil {
			p.t.Fatal(err)
		}
		if err := p.blob(raw); err != nil {
			return err
		}
	}
	return p.root(tag, cache.RawRoot)
}

// rootOf makes a root that no test pushes blobs for.
func rootOf(form buildcache.Form, mediaType string, layers int, extra string) []byte {
	descriptor := func(mediaType string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":"%s","size":5}`, mediaType, digest.FromString(mediaType))
	}
	all := make([]string, layers)
	for i := range all {
		all[i] = descriptor("application/vnd.oci.image.layer.v1.tar+gzip")
	}
	head := `{"schemaVersion":2,`
	if mediaType != "" {
		head += fmt.Sprintf(`"mediaType":%q,`, mediaType)
	}
	config := descriptor(buildcache.MediaTypeConfig)
	if form.IsList() {
		return []byte(head + extra + `"manifests":[` + strings.Join(append(all, config), ",") + "]}")
	}
	return []byte(head + extra + `"config":` + config + `,"layers":[` + strings.Join(all, ",") + "]}")
}

// refused checks that err is the refusal that it should be; with about "" that there is none.
func refused(t *testing.T, err error, about About, words ...string) {
	t.Helper()
	var e *RefusedError
	switch {
	case about == "" && err == nil:
		return
	case about == "" || !errors.As(err, &e):
		t.Errorf("got %v, want a refusal about %q", err, about)
		return
	}
	if e.About != about || e.Explanation == "" || e.NextStep == "" || e.Host == "" || e.Try != "" && !strings.Contains(e.NextStep, string(e.Try)) {
		t.Errorf("%+v", e)
	}
	if want := about == AboutForm || about == AboutPlatform || about == AboutConfigType; e.IsAboutForm() != want {
		t.Errorf("IsAboutForm says %v of %q", e.IsAboutForm(), about)
	}
	for _, word := range words {
		if !strings.Contains(e.Error()+" "+e.NextStep+" verify "+e.Verify, word) {
			t.Errorf("%q is not in %q, %q", word, e, e.NextStep)
		}
	}
}

// TestRefusals pushes BuildKit's own exports in each form to each registry, through the real transport.
func TestRefusals(t *testing.T) {
	t.Parallel()
	type want struct {
		about About
		words []string
	}
	const artifact = "artifact"
	for name, test := range map[string]struct {
		options registrytest.Options
		l, x, a want
	}{
		"distribution 3": {
			options: registrytest.Options{},
			l:       want{about: AboutForm, words: []string{"distribution 3", artifact, "docker-list"}},
			x:       want{about: AboutForm, words: []string{"distribution 3", artifact, "oci-index"}},
			a:       want{},
		},
		"distribution 3, platforms none": {options: registrytest.Options{TakesLists: true}, l: want{}, x: want{}, a: want{}},
		"distribution 3, classes": {
			options: registrytest.Options{TakesLists: true, Classes: []string{"image"}},
			l:       want{},
			x:       want{},
			a:       want{about: AboutConfigType, words: []string{"policy", "oci-index"}},
		},
		"Quay 2020": {
			options: registrytest.Options{Strict: registrytest.Quay2020},
			l:       want{about: AboutPlatform, words: []string{"Quay", "platform", artifact}},
			x:       want{about: AboutPlatform, words: []string{"Quay", "platform", artifact}},
			a:       want{about: AboutConfigType, words: []string{"Quay before 3.12", "IGNORE_UNKNOWN_MEDIATYPES", "ALLOWED_OCI_ARTIFACT_TYPES"}},
		},
		"Quay 3.11": {
			options: registrytest.Options{Strict: registrytest.Quay311},
			l:       want{about: AboutPlatform, words: []string{"Quay", artifact}},
			x:       want{about: AboutForm, words: []string{"manifests only", artifact}},
			a:       want{about: AboutConfigType, words: []string{"Quay before 3.12"}},
		},
		"Quay 3.12": {
			options: registrytest.Options{Strict: registrytest.Quay312},
			l:       want{about: AboutPlatform, words: []string{"Quay", artifact}},
			x:       want{about: AboutForm, words: []string{"Quay looks for an image", artifact}},
			a:       want{},
		},
		"Harbor": {
			options: registrytest.Options{Strict: registrytest.Harbor},
			l:       want{about: AboutForm, words: []string{"Harbor", artifact}},
			x:       want{about: AboutForm, words: []string{"Harbor", artifact}},
			a:       want{},
		},
		"ECR": {
			options: registrytest.Options{Strict: registrytest.ECR},
			l:       want{about: AboutForm, words: []string{"Amazon ECR", artifact}},
			x:       want{about: AboutForm, words: []string{"Amazon ECR", artifact}},
			a:       want{},
		},
		"GCR": {
			options: registrytest.Options{Strict: registrytest.GCR},
			l:       want{about: AboutForm, words: []string{"Google", artifact}},
			x:       want{about: AboutForm, words: []string{"Google", artifact}},
			a:       want{},
		},
		"Alibaba": {
			options: registrytest.Options{Strict: registrytest.Alibaba},
			l:       want{},
			x:       want{},
			a:       want{about: AboutConfigType, words: []string{"Alibaba", "oci-index"}},
		},
		"Gitea": {
			options: registrytest.Options{Strict: registrytest.Gitea},
			l:       want{about: AboutForm, words: []string{"manifests only", artifact}},
			x:       want{about: AboutForm, words: []string{"manifests only", artifact}},
			a:       want{},
		},
		"zot": {
			options: registrytest.Options{Strict: registrytest.Zot},
			l:       want{about: AboutForm, words: []string{"media type", "zot", artifact}},
			x:       want{},
			a:       want{},
		},
		"GitLab": {options: registrytest.Options{Strict: registrytest.GitLab(256_000)}, l: want{}, x: want{}, a: want{}},
		"GitLab, small": {
			options: registrytest.Options{Strict: registrytest.GitLab(1000)},
			l:       want{about: AboutSize, words: []string{"number of layers"}},
			x:       want{about: AboutSize, words: nil},
			a:       want{about: AboutSize, words: nil},
		},
		"read-only": {
			options: registrytest.Options{ReadOnly: true},
			l:       want{about: AboutReadOnly, words: []string{"read-only"}},
			x:       want{about: AboutReadOnly, words: nil},
			a:       want{about: AboutReadOnly, words: nil},
		},
		"proxy": {
			options: registrytest.Options{Strict: registrytest.ReadOnlyProxy},
			l:       want{about: AboutReadOnly, words: []string{"proxy"}},
			x:       want{about: AboutReadOnly, words: nil},
			a:       want{about: AboutReadOnly, words: nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPusher(t, registrytest.New(t, test.options))
			refused(t, p.cache("l", "docker-list-gzip"), test.l.about, test.l.words...)
			refused(t, p.cache("x", "oci-index-gzip"), test.x.about, test.x.words...)
			refused(t, p.cache("a", "artifact-gzip"), test.a.about, test.a.words...)
		})
	}
}

// TestRefusalSays holds one message as a user sees it.
func TestRefusalSays(t *testing.T) {
	t.Parallel()
	p := newPusher(t, registrytest.New(t, registrytest.Options{Strict: registrytest.Quay312}))
	err := p.cache("l", "docker-list-gzip")
	want := "push: manifest invalid; HOST refuses this root (docker-list): Quay wants a platform for " +
		"every entry of a list, and an image behind it; the entries of a cache are layers"
	if got := strings.ReplaceAll(fmt.Sprint(err), p.host, "HOST"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var e *RefusedError
	if !errors.As(err, &e) || e.Form != buildcache.DockerList || e.MediaType != buildcache.MediaTypeDockerList ||
		e.NextStep != "send it in the form artifact, which Quay takes since 3.12" || e.Try != buildcache.Artifact {
		t.Errorf("%+v", e)
	}
}

// TestImmutableTags moves a tag that can't be moved, and writes it once more as it is.
func TestImmutableTags(t *testing.T) {
	t.Parallel()
	for name, strict := range map[string]registrytest.Strict{
		"Quay": registrytest.QuayImmutable, "ECR": registrytest.ECRImmutable, "Harbor": registrytest.HarborImmutable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPusher(t, registrytest.New(t, registrytest.Options{Strict: strict}))
			refused(t, p.cache("v1", "artifact-gzip"), "")
			refused(t, p.cache("v1", "artifact-gzip"), AboutTag, "may not be moved", "another tag")
			refused(t, p.cache("v1", "oci-index-gzip"), AboutTag)
			refused(t, p.cache("v2", "oci-index-gzip"), "")
		})
	}
}

// TestRefusedContents pushes roots that are refused for what is in them, and not for their form.
func TestRefusedContents(t *testing.T) {
	t.Parallel()
	const oci = buildcache.MediaTypeOCIManifest
	huge := rootOf(buildcache.Artifact, oci, 1<<15, "")
	if len(huge) <= buildcache.MaxRoot {
		t.Fatal(len(huge))
	}
	for name, test := range map[string]struct {
		options registrytest.Options
		root    []byte
		about   About
		words   []string
	}{
		"ECR, no layers":    {options: registrytest.Options{Strict: registrytest.ECR}, root: rootOf(buildcache.Artifact, oci, 0, ""), about: AboutOther, words: []string{"no layers", "verify ecr"}},
		"ECR, no mediaType": {options: registrytest.Options{Strict: registrytest.ECR}, root: rootOf(buildcache.Artifact, "", 1, ""), about: AboutOther, words: []string{"no mediaType", "verify ecr"}},
		"GCR, no layers":    {options: registrytest.Options{Strict: registrytest.GCR}, root: rootOf(buildcache.Artifact, oci, 0, ""), about: AboutEmpty, words: []string{"no layers"}},
		"GitLab, artifactType": {
			options: registrytest.Options{Strict: registrytest.GitLab(1 << 20)},
			root:    rootOf(buildcache.Artifact, oci, 1, `"artifactType":"application/x",`),
			about:   AboutConfigType,
			words:   []string{"GitLab", "oci-index"},
		},
		"Quay, Docker manifest": {
			options: registrytest.Options{Strict: registrytest.Quay312},
			root:    rootOf(buildcache.DockerManifest, buildcache.MediaTypeDockerManifest, 1, ""),
			about:   AboutConfigType,
			words:   []string{"artifact"},
		},
		"zot, Docker manifest": {
			options: registrytest.Options{Strict: registrytest.Zot},
			root:    rootOf(buildcache.DockerManifest, buildcache.MediaTypeDockerManifest, 1, ""), about: AboutForm,
			words: []string{"media type", "artifact"},
		},
		"distribution, a blob missing": {options: registrytest.Options{}, root: rootOf(buildcache.Artifact, oci, 1, ""), about: AboutOther, words: []string{"a blob that the root refers to is not there", "again"}},
		"distribution, 4 MiB":          {options: registrytest.Options{}, root: huge, about: AboutSize, words: []string{"mode=min"}},
		"zot, 4 MiB":                   {options: registrytest.Options{Strict: registrytest.Zot}, root: huge, about: AboutSize, words: nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, newPusher(t, registrytest.New(t, test.options)).root("v1", test.root), test.about, test.words...)
		})
	}
}

// TestRefusedInOtherWords has answers that no fake gives: those of proxies, and of registries only heard of.
func TestRefusedInOtherWords(t *testing.T) {
	t.Parallel()
	list := rootOf(buildcache.DockerList, buildcache.MediaTypeDockerList, 1, "")
	manifest := rootOf(buildcache.Artifact, buildcache.MediaTypeOCIManifest, 1, "")
	code := func(code, message string) string {
		return fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`, code, message)
	}
	for name, test := range map[string]struct {
		status int
		body   string
		root   []byte // nil for a blob
		about  About
		words  []string
	}{
		"Harbor behind a proxy":            {status: 404, body: "404 page not found", root: list, about: AboutForm, words: []string{"Harbor", "artifact"}},
		"ECR of 2018":                      {status: 400, body: code("UNSUPPORTED", `Unsupported manifest type: "`+buildcache.MediaTypeDockerList+`"`), root: list, about: AboutForm, words: []string{"Amazon ECR"}},
		"a list and a bare 405":            {status: 405, body: "", root: list, about: AboutForm, words: []string{"artifact"}},
		"a list and a bare 400":            {status: 400, body: "<html>Bad Request</html>", root: list, about: AboutForm, words: []string{"artifact"}},
		"a list and a bare 415":            {status: 415, body: "", root: list, about: AboutForm, words: []string{"media type"}},
		"a manifest and a bare 405":        {status: 405, body: "", root: manifest, about: AboutReadOnly, words: nil},
		"a manifest and a bare 400":        {status: 400, body: "no", root: manifest, about: AboutOther, words: []string{"verify any"}},
		"a manifest and a bare 415":        {status: 415, body: "", root: manifest, about: AboutForm, words: []string{"docker-list"}},
		"sizes in a Gitea":                 {status: 400, body: code("SIZE_INVALID", "provided length did not match content length"), root: manifest, about: AboutOther, words: []string{"not that of the blob", "verify none"}},
		"409 without words":                {status: 409, body: "", root: manifest, about: AboutTag, words: nil},
		"Docker Hub's immutable tags":      {status: 403, body: code("DENIED", "this tag is immutable"), root: manifest, about: AboutTag, words: nil},
		"the same without a code":          {status: 403, body: "tag v1 is immutable", root: manifest, about: AboutTag, words: nil},
		"a repository with a telling name": {status: 404, body: code("NOT_FOUND", "artifact immutable/read-only@sha256:00 not found"), root: list, about: AboutForm, words: nil},
		"Quay in maintenance":              {status: 405, body: code("DENIED", "System is currently read-only. Pulls will succeed"), root: nil, about: AboutReadOnly, words: nil},
		"a layer too large for nginx":      {status: 413, body: "<html>413 Request Entity Too Large</html>", root: nil, about: AboutSize, words: []string{"--compression zstd"}},
		"a root too large for nginx":       {status: 413, body: "<html>413 Request Entity Too Large</html>", root: manifest, about: AboutSize, words: []string{"mode=min"}},
		"no repository in an ECR":          {status: 404, body: code("NAME_UNKNOWN", "The repository with name 'team/cache' does not exist in the registry"), root: nil, about: AboutOther, words: []string{"create the repository"}},
		"a blob and words not known":       {status: 400, body: code("PONIES", "no ponies"), root: nil, about: AboutOther, words: nil},
		"a list and words not known":       {status: 400, body: code("PONIES", "no ponies"), root: list, about: AboutOther, words: nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPusher(t, registrytest.Serve(t, answering(test.status, test.body)))
			err := p.blobOrRoot(test.root)
			refused(t, err, test.about, test.words...)
		})
	}
}

func (p *pusher) blobOrRoot(root []byte) error {
	p.t.Helper()
	if root == nil {
		return p.blob([]byte("a layer"))
	}
	return p.root("v1", root)
}

// answering answers everything that is written in one way. It has nothing.
func answering(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/":
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	})
}

// TestNotRefused has errors that say nothing about what was sent.
func TestNotRefused(t *testing.T) {
	t.Parallel()
	list := rootOf(buildcache.DockerList, buildcache.MediaTypeDockerList, 1, "")
	manifest := rootOf(buildcache.Artifact, buildcache.MediaTypeOCIManifest, 1, "")
	for name, fault := range map[string]registrytest.Fault{
		"401":               {Status: 401},
		"403":               {Status: 403},
		"408":               {Status: 408, Code: "TOOMANYREQUESTS"},
		"429":               {Status: 429},
		"500":               {Status: 500},
		"502":               {Status: 502},
		"503":               {Status: 503},
		"dropped":           {Drop: true},
		"a lost upload":     {LoseUpload: true},
		"a digest mistaken": {Status: 400, Code: "DIGEST_INVALID"},
		"an upload gone":    {Status: 404, Code: "BLOB_UPLOAD_INVALID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{TakesLists: true})
			p := newPusher(t, server)
			blobs, roots := fault, fault
			blobs.Method, blobs.Path, blobs.Times = http.MethodPut, "/uploads/", -1
			roots.Method, roots.Path, roots.Times = http.MethodPut, "/manifests/", -1
			server.Inject(blobs)
			server.Inject(roots)
			for _, root := range [][]byte{nil, list, manifest} {
				err := p.blobOrRoot(root)
				if e := (*RefusedError)(nil); err == nil || errors.As(err, &e) {
					t.Errorf("%s: got %v", name, err)
				}
			}
			server.AssertFired(t)
		})
	}
	for _, test := range []struct {
		status int
		body   string
		root   []byte
	}{
		{status: 401, body: "who?", root: list},
		{status: 403, body: "no", root: list},
		{status: 408, body: "late", root: list},
		{status: 429, body: "slow down", root: list}, // the transport tries again what has no body, for half a minute
		{status: 500, body: "oh", root: list},
		{status: 400, body: `{"errors":[{"code":"SIZE_INVALID"}]}`, root: nil},
	} {
		err := newPusher(t, registrytest.Serve(t, answering(test.status, test.body))).blobOrRoot(test.root)
		if e := (*RefusedError)(nil); err == nil || errors.As(err, &e) {
			t.Errorf("%d %s: got %v", test.status, test.body, err)
		}
	}
	other := errors.New("a disk is full")
	root := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIIndex}
	for _, err := range []error{nil, other, context.Canceled, errors.Join(other, context.DeadlineExceeded), &struct{ error }{other}} {
		if got := explained("registry.example", root, err); got != err { //nolint:errorlint // the very same
			t.Errorf("%v became %v", err, got)
		}
	}
}

// TestNotRefusedForCredentials has a registry that would refuse, but first wants to know who asks.
func TestNotRefusedForCredentials(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]registrytest.Options{
		"htpasswd": {User: "user", Password: "secret"},
		"token":    {User: "user", Password: "secret", Token: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, options)
			err := newPusher(t, server).cache("l", "docker-list-gzip")
			if e := (*RefusedError)(nil); err == nil || errors.As(err, &e) {
				t.Errorf("without credentials: %v", err)
			}
			refused(t, newPusher(t, server, "user:secret").cache("l", "docker-list-gzip"), AboutForm)
		})
	}
}

// TestStoredByOne says that a request for a blob that ends because another request failed leaves the other's error as it is: several
// can end so at once.
func TestStoredByOne(t *testing.T) {
	t.Parallel()
	first := &requestError{repository: "docker://a/b", host: "a", what: "list the tags", err: io.ErrUnexpectedEOF}
	stopped := ofStored(&parallel.StoppedError{Err: first})
	if of, ok := FailureOf(stopped); !ok || !of.Stored {
		t.Errorf("of the blob: %+v", of)
	}
	if of, ok := FailureOf(first); !ok || of.Stored {
		t.Errorf("of the other request: %+v", of)
	}
}
