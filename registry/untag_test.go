package registry_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// TestUntag deletes one tag and never another one, whatever the registry does about that.
func TestUntag(t *testing.T) {
	t.Parallel()
	for _, deletes := range []registrytest.Deletes{
		"", registrytest.DeletesNothing, registrytest.DeletesManifests, registrytest.DeletesTogether,
	} {
		t.Run("deletes "+string(deletes), func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{TakesLists: true, Deletes: deletes})
			repo := open(t, server, plain())
			src, root := fixture(t, "artifact-gzip")
			push := func(tag string) {
				if _, err := convert.Convert(t.Context(), src, root, repo, tag, convert.Options{}); err != nil {
					t.Fatal(err)
				}
			}
			push("a")
			push("b")
			was := root.Descriptor.Digest

			var moved *layout.TagMovedError
			if err := repo.Untag(t.Context(), "a", digest.FromString("other"), nil); !errors.As(err, &moved) {
				t.Errorf("another digest: %v", err)
			}
			if err := repo.Untag(t.Context(), "none", was, nil); err != nil {
				t.Errorf("no such tag: %v", err)
			}
			err := repo.Untag(t.Context(), "a", was, []string{"b"})
			var kept *layout.KeptError
			want := []string{"b"}
			if deletes == registrytest.DeletesNothing || deletes == registrytest.DeletesManifests {
				want = []string{"a", "b"}
				if !errors.As(err, &kept) || !slices.Equal(kept.Sharing, []string{"b"}) {
					t.Errorf("with another tag: %v", err)
				}
			} else if err != nil {
				t.Errorf("with another tag: %v", err)
			}
			wantTagsOf(t, repo, want)
			for _, tag := range want { // now that nobody minds
				err = repo.Untag(t.Context(), tag, was, nil)
				if deletes == registrytest.DeletesNothing {
					if !errors.As(err, &kept) || kept.Sharing != nil {
						t.Errorf("%s: %v", tag, err)
					}
				} else if err != nil {
					t.Errorf("%s: %v", tag, err)
				}
			}
			if deletes != registrytest.DeletesNothing {
				want = nil
			}
			wantTagsOf(t, repo, want)
			push("c")
			wantTagsOf(t, repo, append(slices.Clone(want), "c"))
		})
	}
}

func wantTagsOf(t *testing.T, src layout.Source, want []string) {
	t.Helper()
	entries, err := src.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := layout.TagsOf(entries, func(layout.Kind) bool { return true }); !slices.Equal(got, want) {
		t.Errorf("tags %q, want %q", got, want)
	}
}

// TestUntagDenied tells a user who may not delete from somebody who has not said who he is.
func TestUntagDenied(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		server := registrytest.New(t, registrytest.Options{TakesLists: true})
		options := plain()
		if known {
			options.Creds = "ann:secret"
		}
		repo := open(t, server, options)
		src, root := fixture(t, "artifact-gzip")
		if _, err := convert.Convert(t.Context(), src, root, repo, "a", convert.Options{}); err != nil {
			t.Fatal(err)
		}
		server.Inject(registrytest.Fault{Method: http.MethodDelete, Status: http.StatusForbidden, Times: -1})
		err := repo.Untag(t.Context(), "a", root.Descriptor.Digest, nil)
		var kept *layout.KeptError
		var auth *registry.AuthError
		if !errors.As(err, &auth) || errors.As(err, &kept) != known {
			t.Errorf("somebody known: %t: %v", known, err)
		}
		wantTagsOf(t, repo, []string{"a"})
	}
}
