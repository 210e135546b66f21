package registry_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
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
