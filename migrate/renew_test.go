package migrate_test

import (
	"net/http"
	"testing"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/migrate"
)

// TestTokensAreRenewed brings several caches over, at once and with new layers, between registries whose tokens are good for few requests.
func TestTokensAreRenewed(t *testing.T) {
	t.Parallel()
	few := registrytest.Options{User: "user", Password: "secret", Token: true, TokenUses: 40}
	b := newBench(t, few, few)
	b.creds = "user:secret"
	b.fill(t, "app", "artifact-gzip", "a", "b", "c", "d", "e")
	b.fill(t, "app", "merge-small2-fresh", "f", "g", "h")
	for _, compression := range []string{"keep", "zstd"} {
		b.to.Forget()
		before := b.to.TokenRequests()
		want(t, b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/"+compression+", compression: "+compression+"}]"), 8, 0, 0, 0, 0)
		asked := len(b.to.Requests())
		if tokens := b.to.TokenRequests() - before; tokens < asked/40 || tokens > asked/2 {
			t.Errorf("%s: %d tokens for %d requests", compression, tokens, asked)
		}
	}
}

// TestRenewalRefused changes a password in the middle of a run: its caches fail for that, once each, and the run goes on to its end. With
// the new password the next one does the rest.
func TestRenewalRefused(t *testing.T) {
	t.Parallel()
	locked := registrytest.Options{User: "user", Password: "secret", Token: true}
	for what, at := range map[string]func(*bench) *registrytest.Server{
		"source": func(b *bench) *registrytest.Server { return b.from }, "target": target,
	} {
		b := newBench(t, locked, locked)
		b.creds = "user:secret"
		b.fill(t, "app", "artifact-gzip", "a", "b", "c", "d")
		const plan = "version: 1\nmigrations: [{source: FROM/app, target: TO/app}]"
		at(b).Inject(registrytest.Fault{Method: map[string]string{"source": http.MethodGet, "target": http.MethodPut}[what], Path: "/blobs/", Skip: 3, Before: func() {
			at(b).ChangePassword("other")
		}})
		before := at(b).TokenRequests()
		s := b.run(t, plan, func(o *migrate.Options) { o.Registry.Retries = 0 })
		want(t, s, 0, 0, 0, 4, 0)
		if len(s.Causes) != 1 || s.Causes[0].Cause != migrate.CauseAccess {
			t.Errorf("%s: %+v", what, s.Causes)
		}
		if tokens := at(b).TokenRequests() - before; tokens > 20 {
			t.Errorf("%s: it was asked for %d tokens", what, tokens)
		}
		at(b).AssertFired(t)
		b.from.ChangePassword("new")
		b.to.ChangePassword("new")
		b.creds = "user:new"
		want(t, b.run(t, plan), 4, 0, 0, 0, 0)
	}
}
