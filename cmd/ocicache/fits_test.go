package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// TestFits checks that prune --fit is named for caches that can be changed in place, and for archives a command that brings the cache elsewhere.
func TestFits(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"oci:dir:v1":                  "'ocicache prune oci:dir:v1 --fit' drops its oldest results",
		file:                          "'ocicache sync " + file + " DIR --fit' drops its oldest results",
		"oci-archive:" + file + ":v1": "'ocicache sync oci-archive:" + file + ":v1 DIR --fit' drops its oldest results",
	} {
		ref, err := layout.ParseReference(text)
		if err != nil {
			t.Fatal(err)
		}
		got := subject{ref: ref}.remedy(buildcache.NewProblem(buildcache.ConfigTooLarge, "", ""))
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", text, got)
		}
	}
}
