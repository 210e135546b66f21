package registry_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/registry"
)

// TestTokensAreRenewed has tokens that end in the middle of everything, sooner than they said: a registry's keys may change, and clocks
// differ. A blob takes two requests, or three where its digest is known only at its end.
func TestTokensAreRenewed(t *testing.T) {
	t.Parallel()
	from := made(t, buildcache.Uncompressed, tarball(t, 1, large), tarball(t, 2, 1000), tarball(t, 3, 1000))
	for _, uses := range []int{2, 3, 5} {
		for _, compression := range []buildcache.Compression{"", buildcache.Gzip} {
			server := registrytest.New(t, registrytest.Options{User: "user", Password: "secret", Token: true, TokenUses: uses})
			o := plain()
			o.Creds, o.Retries = "user:secret", -1
			_, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), open(t, server, o), "latest",
				convert.Options{Compression: compression, Jobs: 1})
			if err != nil {
				t.Errorf("%d uses, %q: %v", uses, compression, err)
				continue
			}
			r := open(t, server, o) // one at a time: of requests side by side one may use up the token that another one has got
			if _, err = convert.Convert(t.Context(), r, layouttest.Entry(t, r, "latest"), layouttest.Create(t), "latest", convert.Options{Jobs: 1}); err != nil {
				t.Errorf("%d uses, %q, back: %v", uses, compression, err)
			}
			if all := len(server.Requests()); server.TokenRequests() < all/(uses+2) || server.TokenRequests() > all {
				t.Errorf("%d uses: %d tokens for %d requests", uses, server.TokenRequests(), all)
			}
		}
	}
}

// TestTokenEndsWithinUpload takes the token back between the beginning of an upload and its bytes.
func TestTokenEndsWithinUpload(t *testing.T) {
	t.Parallel()
	from := made(t, buildcache.Uncompressed, tarball(t, 1, large))
	for method, compression := range map[string]buildcache.Compression{http.MethodPut: "", http.MethodPatch: buildcache.Gzip} {
		server := registrytest.New(t, registrytest.Options{User: "user", Password: "secret", Token: true})
		server.Inject(registrytest.Fault{Method: method, Path: "/uploads/", Before: func() { server.ChangePassword("secret") }})
		o := plain()
		o.Creds, o.Retries = "user:secret", -1
		_, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), open(t, server, o), "latest",
			convert.Options{Compression: compression, Jobs: 1})
		if err != nil {
			t.Errorf("%s: %v", method, err)
		}
		server.AssertFired(t)
	}
}

// TestRenewalRefused changes the password in the middle. That is said, and not tried again.
func TestRenewalRefused(t *testing.T) {
	t.Parallel()
	from := many(t, 6)
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodPut} {
		server := registrytest.New(t, registrytest.Options{User: "user", Password: "secret", Token: true})
		server.Inject(registrytest.Fault{Method: method, Before: func() {
			server.Forget()
			server.ChangePassword("other")
		}})
		o := plain()
		o.Creds = "user:secret"
		_, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), open(t, server, o), "latest", convert.Options{Jobs: 1})
		var auth *registry.AuthError
		if !errors.As(err, &auth) || auth.User != "user" || auth.Status != http.StatusUnauthorized {
			t.Errorf("%s: got %v", method, err)
		}
		server.AssertFired(t)
		if n := len(server.Requests()); n > 4 {
			t.Errorf("%s: %d requests after the password was changed: %+v", method, n, server.Requests())
		}
	}
}
