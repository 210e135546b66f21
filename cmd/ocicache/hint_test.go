package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// TestHintsNameFlags says that a hint about a connection names no flag that the command does not have.
func TestHintsNameFlags(t *testing.T) {
	t.Parallel()
	for line, both := range map[string]bool{
		"explain docker://a.test/x": false, "copy docker://a.test/x dir": false, "sync docker://a.test/x docker://a.test/y": false,
		"copy docker://a.test/x docker://b.test/x": true,
	} {
		a := &app{}
		cmd, args, err := a.command().Find(strings.Fields(line))
		if err == nil {
			err = cmd.ParseFlags(args)
		}
		if err != nil {
			t.Fatal(err)
		}
		a.running = cmd
		hint := a.hint(http.ErrSchemeMismatch)
		if strings.Contains(hint, "--src-tls-verify") != both {
			t.Errorf("%s: %q", line, hint)
		}
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(hint, -1) {
			if !hasFlag(cmd, strings.TrimPrefix(flag, "--")) && cmd.Flags().Lookup("src-"+strings.TrimPrefix(flag, "--")) == nil {
				t.Errorf("%s: the hint names %s: %q", line, flag, hint)
			}
		}
	}
}

// TestHintOfSilence tells a registry that has gone from one that never was there.
func TestHintOfSilence(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	insecure := false
	options := registry.Options{TLSVerify: &insecure, Retries: 1, Delay: time.Millisecond}
	ask := func(answers bool) string {
		place, err := registry.Open(strings.TrimPrefix(server.URL, "http://")+"/team/cache", options)
		if err != nil {
			t.Fatal(err)
		}
		defer place.Close()
		if answers {
			if _, err := place.Resolve(t.Context(), "main"); err != nil {
				t.Fatal(err)
			}
			server.Close()
		}
		_, err = place.Resolve(t.Context(), "main")
		if err == nil {
			t.Fatal("nobody is there, and it answers")
		}
		return (&app{}).hint(err)
	}
	if hint := ask(true); !strings.Contains(hint, "stopped answering") {
		t.Errorf("gone: %q", hint)
	}
	if hint := ask(false); !strings.Contains(hint, "is the port right?") {
		t.Errorf("never there: %q", hint)
	}
}

// TestHintOfWays names what stands between us and a registry: a proxy, a name, a certificate.
func TestHintOfWays(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	trusted, ok := server.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	otherName := trusted.Clone()
	otherName.TLSClientConfig.ServerName = "registry.invalid"
	for want, transport := range map[string]*http.Transport{
		"NO_PROXY":    {Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://127.0.0.1:1") }},
		"a name that": otherName,
		"--cert-dir":  {},
		"check the spelling": {DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "registry.invalid", IsNotFound: true}}
		}},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err == nil {
			_ = response.Body.Close()
			t.Fatalf("%s: it got through", want)
		}
		if hint := (&app{}).hint(err); !strings.Contains(hint, want) {
			t.Errorf("%v: %q, want %q", err, hint, want)
		}
	}
}

// TestHintResume says how to go on with a migration that was interrupted.
func TestHintResume(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		command []string
		want    string
	}{
		{[]string{"migrate", "run", "plan.yaml", "--state", "a night"}, "to continue: ocicache migrate run plan.yaml --state 'a night'"},
		{[]string{"migrate", "run", "plan.yaml"}, "run it again, and it skips what is already there; with --state FILE, a run continues where the last one ended"},
		{[]string{"sync", "a", "b"}, ""},
	} {
		a := &app{}
		cmd, args, err := a.command().Find(test.command)
		if err == nil {
			err = cmd.ParseFlags(args)
		}
		if err != nil {
			t.Fatal(err)
		}
		a.running = cmd
		if got := a.hintResume(); got != test.want {
			t.Errorf("%v: %q, want %q", test.command, got, test.want)
		}
	}
}

// TestCorrected prints commands that exist, with the form that a registry takes.
func TestCorrected(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"copy a docker://h/r --rate 3":                        "ocicache convert a docker://h/r --rate 3 --to artifact",
		"sync a docker://h/r --to docker-list":                "ocicache sync a docker://h/r --to artifact",
		"tag docker://h/r:a b --tls-verify=false":             "'ocicache convert docker://h/r:a --tls-verify=false --to artifact' first, then run this again",
		"prune docker://h/r:a --keep-bytes 90KB --creds u:pw": "'ocicache convert docker://h/r:a --creds u --password-stdin --to artifact' first, then run this again",
		"copy docker://a/r docker://b/r --src-creds u:pw --dest-creds v:pw --dest-registry-token t": "ocicache convert docker://a/r docker://b/r " +
			`--dest-creds v --password-stdin --dest-registry-token "$DEST_REGISTRY_TOKEN" --src-creds u:"$SRC_PASSWORD" --to artifact`,
	} {
		words := strings.Fields(line)
		a := &app{}
		cmd, args, err := a.command().Find(words)
		if err == nil {
			err = cmd.ParseFlags(args)
		}
		if err != nil {
			t.Fatal(err)
		}
		a.running = cmd
		if got := a.corrected(buildcache.Artifact); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
}

// TestHintOfDanglingFar does not lead to the command that has just failed: rm can't delete a tag that names nothing.
func TestHintOfDanglingFar(t *testing.T) {
	t.Parallel()
	a := &app{}
	hint := a.hint(&layout.DanglingError{Place: "docker://registry.example.com/team/cache", Tag: "main", Err: layout.ErrListedOnly})
	if !strings.HasPrefix(hint, "copy the cache there again") || !strings.Contains(hint, "; then rm ") {
		t.Errorf("%q", hint)
	}
}

// TestHintOfPatched says that it is the connection.
func TestHintOfPatched(t *testing.T) {
	t.Parallel()
	a := &app{}
	if hint := a.hint(&layout.BlobError{Place: "docker://registry.example.com/team/cache", Err: layout.ErrPatched}); !strings.Contains(hint, "run it again") {
		t.Errorf("%q", hint)
	}
}
