package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// followed are ways in which caches are broken, each with the kind of problem and what its remedy is to say.
var followed = []struct {
	kind, old, with string // in the root, which is named anew unless the kind is that of a damaged one
	want            string
}{
	{"root-damaged", `"2026-`, `"2027-`, "shows what can be kept of the cache; with --write"},
	{"layer-media-type", `"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:` + largestLayer, `"mediaType":"application/x-tar","digest":"sha256:` + largestLayer, "--write' corrects it"},
	{"layer-no-diffid", `"containerd.io/uncompressed":`, `"none":`, "--write' corrects it, and nothing is lost"},
	{"layer-createdat", `"buildkit/createdat":"2026-`, `"buildkit/createdat":"in 2026 `, "--write' corrects it, and nothing is lost"},
	{"layer-diffid", "sha256:7045f8eee54dbd00f447ee9c5421da4d1245ae0778b6e6b2c4829b9c0731dd3e", digest.FromString("other").String(), "--deep --write' corrects it"},
	{"layer-unreadable", "v1.tar+gzip", "v1.tar", "--deep' shows whether only its media type is wrong"},
	{"blob-size", `"size":79323`, `"size":79324`, "shows whether only the stated size is wrong; with --write it corrects"},
}

// TestFollowedRemedies does what verify advises, after which verify finds no error and nothing is lost.
func TestFollowedRemedies(t *testing.T) {
	t.Parallel()
	for _, tt := range followed {
		t.Run(tt.kind, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "cache")
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(corpus, "artifact-gzip"))); err != nil {
				t.Fatal(err)
			}
			results := resultsOf(t, dir)
			replaceInRoot(t, dir, tt.old, tt.with, tt.kind != "root-damaged")
			remedy := remedyFor(t, dir, tt.kind)
			command, _, _ := strings.Cut(strings.TrimPrefix(remedy, "'"), "'")
			if !strings.Contains(remedy, tt.want) || !strings.HasPrefix(command, "ocicache repair ") {
				t.Fatal(remedy)
			}
			if args := strings.Fields(command)[1:]; strings.HasSuffix(command, " --write") {
				mustRun(t, exitDone, args...)
			} else {
				mustRun(t, exitFound, args...)
				mustRun(t, exitDone, append(args, "--write")...)
			}
			mustRun(t, exitDone, "verify", dir, "--deep")
			if now := resultsOf(t, dir); now != results {
				t.Errorf("%d results are left of %d", now, results)
			}
		})
	}
}

// mustRun runs a command and returns its output.
func mustRun(t *testing.T, want int, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(args, &stdout, &stderr); status != want {
		t.Fatalf("%v: status %d, want %d: %s%s", args, status, want, &stdout, &stderr)
	}
	return stdout.String()
}

// remedyFor returns what verify says against the first problem of a kind.
func remedyFor(t *testing.T, place, kind string) string {
	t.Helper()
	var found struct{ Problems []buildcache.Problem }
	if err := json.Unmarshal([]byte(mustRun(t, exitFound, "verify", place, "--deep", "--json")), &found); err != nil {
		t.Fatal(err)
	}
	for _, p := range found.Problems {
		if string(p.Kind) == kind {
			return p.Remedy
		}
	}
	t.Fatalf("there is no %s: %+v", kind, found.Problems)
	return ""
}

// resultsOf returns how many results the cache of a directory has.
func resultsOf(t *testing.T, dir string) int {
	t.Helper()
	var found struct{ Caches []struct{ Results int } }
	if err := json.Unmarshal([]byte(mustRun(t, exitDone, "inspect", dir, "--json")), &found); err != nil || len(found.Caches) != 1 {
		t.Fatal(err, found)
	}
	return found.Caches[0].Results
}

// replaceInRoot changes the root of a cache, and if it is named anew, what names it.
func replaceInRoot(t *testing.T, dir, old, with string, anew bool) {
	t.Helper()
	place, err := layout.Open(dir, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	was := layouttest.Entry(t, place, "latest").Descriptor
	raw, err := os.ReadFile(blobPath(dir, was.Digest))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(raw), old, with)
	if changed == string(raw) {
		t.Fatalf("%s is not in %s", old, raw)
	}
	now := was.Digest
	if anew {
		now = digest.FromString(changed)
	}
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	index = bytes.ReplaceAll(index, []byte(was.Digest), []byte(now))
	for path, data := range map[string][]byte{blobPath(dir, now): []byte(changed), filepath.Join(dir, "index.json"): index} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemedyAmong has remedies that depend on what else is wrong, or on the place.
func TestRemedyAmong(t *testing.T) {
	t.Parallel()
	const repair = "'ocicache repair REF"
	s := subject{ref: layout.Reference{Transport: layout.TransportPath, Path: "REF"}}
	layer := digest.FromString("layer")
	on := func(kind buildcache.Kind) buildcache.Problem { return buildcache.NewProblem(kind, "", "").On(layer) }
	for _, tt := range []struct{ is, other, want, archived string }{
		{"layer-diffid", "layer-unused", repair + " --deep --write' corrects it, and nothing is lost", "unpack REF DIR', and then 'ocicache repair DIR --deep --write' corrects"},
		{"layer-diffid", "layer-unreadable", repair + " --deep' shows whether only its media type is wrong", "'ocicache repair DIR --deep' shows whether"},
		{"layer-createdat", "blob-missing", repair + "' shows what would be lost by other problems", "'ocicache repair DIR' shows what would be lost by other"},
		{"root-damaged", "root-invalid", repair + " --base PLACE --write' takes it", "copy the archive again"},
		{"root-invalid", "root-damaged", repair + " --base PLACE --write' takes it", "export the cache again"},
		{"blob-size", "layer-unused", repair + "' shows whether only the stated size", "export the cache again"},
	} {
		others := []buildcache.Problem{on(buildcache.Kind(tt.is)), on(buildcache.Kind(tt.other))}
		if got := s.among(others[0], setOf(others)); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s beside %s: %s", tt.is, tt.other, got)
		}
		if got := s.ofArchive(others[0], setOf(others)); !strings.Contains(got, tt.archived) {
			t.Errorf("%s beside %s in an archive: %s", tt.is, tt.other, got)
		}
	}
}

// TestRemedyOfDamagedConfig sends nobody after what only a damaged config says.
func TestRemedyOfDamagedConfig(t *testing.T) {
	t.Parallel()
	const first = "only the damaged config says so: repair that first"
	for _, transport := range []layout.Transport{layout.TransportPath, layout.TransportArchive, layout.TransportRegistry} {
		place := &places.Opened{Reference: layout.Reference{Transport: transport, Path: "REF"}}
		problems := []buildcache.Problem{
			buildcache.NewProblem(buildcache.ConfigDamaged, "config", ""),
			buildcache.NewProblem(buildcache.LayerUnlisted, "config.records[9]", ""),
			buildcache.NewProblem(buildcache.LayerUnused, "root.layers[0]", ""),
			buildcache.NewProblem(buildcache.BlobMissing, "root.layers[1]", ""),
			buildcache.NewProblem(buildcache.LayerUnused, "root.layers[0]", ""),
		}
		problems[4].Cache = "another"
		new(app).fitRemedies(place, problems)
		for i, isOfConfig := range []bool{false, true, true, false, false} {
			if (problems[i].Remedy == first) != isOfConfig {
				t.Errorf("%s: %s: %s", transport, problems[i].Kind, problems[i].Remedy)
			}
		}
	}
}
