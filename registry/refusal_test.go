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

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry/registrytest"
)

// pusher pushes through containers/image, without what this package puts around it.
type pusher struct {
	t    *testing.T
	host string
	sys  *types.SystemContext
}

func newPusher(t *testing.T, server *registrytest.Server) *pusher {
	return &pusher{t, server.Host, &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}}
}

func (p *pusher) destination(tag string) types.ImageDestination {
	p.t.Helper()
	named, err := reference.ParseNormalizedNamed(p.host + "/team/cache:" + tag)
	if err != nil {
		p.t.Fatal(err)
	}
	ref, err := docker.NewReference(named)
	if err != nil {
		p.t.Fatal(err)
	}
	dest, err := ref.NewImageDestination(p.t.Context(), p.sys)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = dest.Close() }) // it never fails
	return dest
}

// blob pushes bytes, and returns what the transport and explained make of what the registry says.
func (p *pusher) blob(raw []byte) error {
	p.t.Helper()
	blob := buildcache.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	_, err := p.destination("blobs").PutBlob(p.t.Context(), bytes.NewReader(raw), types.BlobInfo{Digest: blob.Digest, Size: blob.Size}, none.NoCache, false)
	return p.explained(blob, err)
}

// root pushes a root under a tag.
func (p *pusher) root(tag string, raw []byte) error {
	p.t.Helper()
	mediaType, err := buildcache.DetectMediaType(raw)
	if err != nil {
		p.t.Fatal(err)
	}
	root := buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return p.explained(root, p.destination(tag).PutManifest(p.t.Context(), raw, nil))
}

// explained checks that nothing is lost on the way.
func (p *pusher) explained(sent buildcache.Descriptor, err error) error {
	p.t.Helper()
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("push: %w", err)
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
	for _, blob := range append(cache.Manifest.Layers, cache.Manifest.Config) {
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
	if e.About != about || e.Explanation == "" || e.NextStep == "" || e.Host == "" || strings.Contains(e.NextStep, "DST") {
		t.Errorf("%+v", e)
	}
	if want := about == AboutForm || about == AboutPlatform || about == AboutConfigType; e.IsAboutForm() != want {
		t.Errorf("IsAboutForm says %v of %q", e.IsAboutForm(), about)
	}
	for _, word := range words {
		if !strings.Contains(e.Error()+" "+e.NextStep, word) {
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
	const artifact = "--to artifact"
	for name, test := range map[string]struct {
		options registrytest.Options
		l, x, a want
	}{
		"distribution 3": {
			registrytest.Options{},
			want{AboutForm, []string{"distribution 3", artifact, "docker-list"}},
			want{AboutForm, []string{"distribution 3", artifact, "oci-index"}},
			want{},
		},
		"distribution 3, platforms none": {registrytest.Options{TakesLists: true}, want{}, want{}, want{}},
		"distribution 3, classes": {
			registrytest.Options{TakesLists: true, Classes: []string{"image"}},
			want{},
			want{},
			want{AboutConfigType, []string{"policy", "--to oci-index"}},
		},
		"Quay 2020": {
			registrytest.Options{Strict: registrytest.Quay2020},
			want{AboutPlatform, []string{"Quay", "platform", artifact}},
			want{AboutPlatform, []string{"Quay", "platform", artifact}},
			want{AboutConfigType, []string{"Quay before 3.12", "IGNORE_UNKNOWN_MEDIATYPES", "ALLOWED_OCI_ARTIFACT_TYPES"}},
		},
		"Quay 3.11": {
			registrytest.Options{Strict: registrytest.Quay311},
			want{AboutPlatform, []string{"Quay", artifact}},
			want{AboutForm, []string{"manifests only", artifact}},
			want{AboutConfigType, []string{"Quay before 3.12"}},
		},
		"Quay 3.12": {
			registrytest.Options{Strict: registrytest.Quay312},
			want{AboutPlatform, []string{"Quay", artifact}},
			want{AboutForm, []string{"Quay looks for an image", artifact}},
			want{},
		},
		"Harbor": {
			registrytest.Options{Strict: registrytest.Harbor},
			want{AboutForm, []string{"Harbor", artifact}},
			want{AboutForm, []string{"Harbor", artifact}},
			want{},
		},
		"ECR": {
			registrytest.Options{Strict: registrytest.ECR},
			want{AboutForm, []string{"Amazon ECR", artifact}},
			want{AboutForm, []string{"Amazon ECR", artifact}},
			want{},
		},
		"GCR": {
			registrytest.Options{Strict: registrytest.GCR},
			want{AboutForm, []string{"Google", artifact}},
			want{AboutForm, []string{"Google", artifact}},
			want{},
		},
		"Alibaba": {
			registrytest.Options{Strict: registrytest.Alibaba},
			want{},
			want{},
			want{AboutConfigType, []string{"Alibaba", "--to oci-index"}},
		},
		"Gitea": {
			registrytest.Options{Strict: registrytest.Gitea},
			want{AboutForm, []string{"manifests only", artifact}},
			want{AboutForm, []string{"manifests only", artifact}},
			want{},
		},
		"zot": {
			registrytest.Options{Strict: registrytest.Zot},
			want{AboutForm, []string{"media type", "zot", artifact}},
			want{},
			want{},
		},
		"GitLab": {registrytest.Options{Strict: registrytest.GitLab(256_000)}, want{}, want{}, want{}},
		"GitLab, small": {
			registrytest.Options{Strict: registrytest.GitLab(1000)},
			want{AboutSize, []string{"number of layers"}},
			want{AboutSize, nil},
			want{AboutSize, nil},
		},
		"read-only": {
			registrytest.Options{ReadOnly: true},
			want{AboutReadOnly, []string{"read-only"}},
			want{AboutReadOnly, nil},
			want{AboutReadOnly, nil},
		},
		"proxy": {
			registrytest.Options{Strict: registrytest.ReadOnlyProxy},
			want{AboutReadOnly, []string{"proxy"}},
			want{AboutReadOnly, nil},
			want{AboutReadOnly, nil},
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
	want := "push: uploading manifest l to HOST/team/cache: manifest invalid; HOST refuses this root (docker-list): Quay wants a platform for " +
		"every entry of a list, and an image behind it; the entries of a cache are layers"
	if got := strings.ReplaceAll(fmt.Sprint(err), p.host, "HOST"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var e *RefusedError
	if !errors.As(err, &e) || e.Form != buildcache.DockerList || e.MediaType != buildcache.MediaTypeDockerList ||
		e.NextStep != "send it as an artifact: 'ocicache sync SRC docker://"+p.host+"/REPOSITORY --to artifact', which Quay takes since 3.12" {
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
		"ECR, no layers":    {registrytest.Options{Strict: registrytest.ECR}, rootOf(buildcache.Artifact, oci, 0, ""), AboutOther, []string{"no layers", "--for ecr"}},
		"ECR, no mediaType": {registrytest.Options{Strict: registrytest.ECR}, rootOf(buildcache.Artifact, "", 1, ""), AboutOther, []string{"no mediaType", "--for ecr"}},
		"GCR, no layers":    {registrytest.Options{Strict: registrytest.GCR}, rootOf(buildcache.Artifact, oci, 0, ""), AboutEmpty, []string{"no layers"}},
		"GitLab, artifactType": {
			registrytest.Options{Strict: registrytest.GitLab(1 << 20)},
			rootOf(buildcache.Artifact, oci, 1, `"artifactType":"application/x",`),
			AboutConfigType,
			[]string{"GitLab", "--to oci-index"},
		},
		"Quay, Docker manifest": {
			registrytest.Options{Strict: registrytest.Quay312},
			rootOf(buildcache.DockerManifest, buildcache.MediaTypeDockerManifest, 1, ""),
			AboutConfigType,
			[]string{"--to artifact"},
		},
		"zot, Docker manifest": {
			registrytest.Options{Strict: registrytest.Zot},
			rootOf(buildcache.DockerManifest, buildcache.MediaTypeDockerManifest, 1, ""), AboutForm,
			[]string{"media type", "--to artifact"},
		},
		"distribution, a blob missing": {registrytest.Options{}, rootOf(buildcache.Artifact, oci, 1, ""), AboutOther, []string{"misses a blob", "again"}},
		"distribution, 4 MiB":          {registrytest.Options{}, huge, AboutSize, []string{"mode=min"}},
		"zot, 4 MiB":                   {registrytest.Options{Strict: registrytest.Zot}, huge, AboutSize, nil},
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
		"Harbor behind a proxy":            {404, "404 page not found", list, AboutForm, []string{"Harbor", "--to artifact"}},
		"ECR of 2018":                      {400, code("UNSUPPORTED", `Unsupported manifest type: "`+buildcache.MediaTypeDockerList+`"`), list, AboutForm, []string{"Amazon ECR"}},
		"a list and a bare 405":            {405, "", list, AboutForm, []string{"--to artifact"}},
		"a list and a bare 400":            {400, "<html>Bad Request</html>", list, AboutForm, []string{"--to artifact"}},
		"a list and a bare 415":            {415, "", list, AboutForm, []string{"media type"}},
		"a manifest and a bare 405":        {405, "", manifest, AboutReadOnly, nil},
		"a manifest and a bare 400":        {400, "no", manifest, AboutOther, []string{"verify SRC"}},
		"a manifest and a bare 415":        {415, "", manifest, AboutForm, []string{"--to docker-list"}},
		"sizes in a Gitea":                 {400, code("SIZE_INVALID", "provided length did not match content length"), manifest, AboutOther, []string{"not that of the blob", "verify SRC"}},
		"409 without words":                {409, "", manifest, AboutTag, nil},
		"Docker Hub's immutable tags":      {403, code("DENIED", "this tag is immutable"), manifest, AboutTag, nil},
		"the same without a code":          {403, "tag v1 is immutable", manifest, AboutTag, nil},
		"a repository with a telling name": {404, code("NOT_FOUND", "artifact immutable/read-only@sha256:00 not found"), list, AboutForm, nil},
		"Quay in maintenance":              {405, code("DENIED", "System is currently read-only. Pulls will succeed"), nil, AboutReadOnly, nil},
		"a layer too large for nginx":      {413, "<html>413 Request Entity Too Large</html>", nil, AboutSize, []string{"--compression zstd"}},
		"a root too large for nginx":       {413, "<html>413 Request Entity Too Large</html>", manifest, AboutSize, []string{"mode=min"}},
		"no repository in an ECR":          {404, code("NAME_UNKNOWN", "The repository with name 'team/cache' does not exist in the registry"), nil, AboutOther, []string{"create the repository"}},
		"a blob and words not known":       {400, code("PONIES", "no ponies"), nil, AboutOther, nil},
		"a list and words not known":       {400, code("PONIES", "no ponies"), list, AboutOther, nil},
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
			blobs.Method, blobs.Path, blobs.Times = http.MethodPatch, "/uploads/", -1
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
		{401, "who?", list},
		{403, "no", list},
		{408, "late", list},
		{429, "slow down", list}, // the transport tries again what has no body, for half a minute
		{500, "oh", list},
		{400, `{"errors":[{"code":"SIZE_INVALID"}]}`, nil},
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
			p := newPusher(t, registrytest.New(t, options))
			err := p.cache("l", "docker-list-gzip")
			if e := (*RefusedError)(nil); err == nil || errors.As(err, &e) {
				t.Errorf("without credentials: %v", err)
			}
			p.sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "user", Password: "secret"}
			refused(t, p.cache("l", "docker-list-gzip"), AboutForm)
		})
	}
}
