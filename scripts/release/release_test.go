//go:build release

package release

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"debug/macho"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var platforms = []string{"linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64"}

// TestSums says which files there are, and that they have their sums.
func TestSums(t *testing.T) {
	t.Parallel()
	want := []string{"image.tar"}
	for _, p := range platforms {
		want = append(want, p+".tar.gz", p+".cdx.json")
		if strings.HasPrefix(p, "linux") {
			want = append(want, p+".deb", p+".rpm", p+".apk")
		}
	}
	sums, err := os.ReadFile(filepath.Join(dist, "release", "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		data, err := os.ReadFile(filepath.Join(dist, "release", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != sum {
			t.Errorf("%s has %s, want %s", name, got, sum)
		}
		names = append(names, strings.TrimPrefix(name, "ocicache_"+version(t)+"_"))
	}
	slices.Sort(want)
	if slices.Sort(names); !slices.Equal(names, want) {
		t.Errorf("there are %v\nwant %v", names, want)
	}
	if found := files(t, filepath.Join(dist, "release")); len(found) != len(want)+1 {
		t.Errorf("there are %d files, want those and SHA256SUMS", len(found))
	}
}

// TestArchives looks into the archives.
func TestArchives(t *testing.T) {
	t.Parallel()
	for _, platform := range platforms {
		t.Run(platform, func(t *testing.T) {
			t.Parallel()
			entries := archive(t, platform)
			pages := 0
			for name, e := range entries {
				if e.Uid != 0 || e.Gid != 0 || e.Uname != "" {
					t.Errorf("%s is somebody's: %d:%d %s", name, e.Uid, e.Gid, e.Uname)
				}
				if !e.ModTime.Equal(entries["ocicache"].ModTime) {
					t.Errorf("%s is of %v", name, e.ModTime)
				}
				if strings.HasPrefix(name, "man/") {
					pages++
					checkPage(t, name, string(e.data), e.ModTime)
				}
			}
			if pages < 25 {
				t.Errorf("there are %d man pages", pages)
			}
			for _, name := range []string{
				"LICENSE", "README.md", "man/ocicache.1", "man/ocicache-migrate-run.1",
				"completions/ocicache.bash", "completions/ocicache.zsh", "completions/ocicache.fish", "completions/ocicache.ps1",
			} {
				if len(entries[name].data) == 0 {
					t.Errorf("there is no %s", name)
				}
			}
			if text := string(entries["README.md"].data); strings.Contains(text, "](docs/") || !strings.Contains(text, "/docs/commands.md)") {
				t.Error("the README links to documents that are not beside it")
			}
			checkBinary(t, platform, entries["ocicache"])
		})
	}
}

// checkPage says what each man page has to tell.
func checkPage(t *testing.T, name, page string, date time.Time) {
	t.Helper()
	before := 0
	for _, want := range []string{date.UTC().Format(time.DateOnly), "\n.SH NAME\n", "\n.SH EXIT STATUS\n", "\n.SH ENVIRONMENT\n", "\n.SH FILES\n"} {
		at := strings.Index(page, want)
		if at < before {
			t.Errorf("%s has no %q in its place", name, want)
		}
		before = at
	}
	if name == "man/ocicache.1" && (!strings.Contains(page, "\n.SH EXAMPLES\n") || !strings.Contains(page, "\n.SH COMMANDS\n")) {
		t.Errorf("%s has no examples, or no commands", name)
	}
	if strings.Contains(page, "[=false]") || strings.Contains(page, `\fP=""`) {
		t.Errorf("%s has defaults that say nothing", name)
	}
}

// checkBinary says that a binary is for its platform, and needs no libraries where there may be others.
func checkBinary(t *testing.T, platform string, binary entry) {
	t.Helper()
	if binary.FileInfo().Mode() != 0o755 {
		t.Errorf("the binary has the mode %v", binary.FileInfo().Mode())
	}
	system, arch, _ := strings.Cut(platform, "_")
	if system == "darwin" {
		file, err := macho.NewFile(bytes.NewReader(binary.data))
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]macho.Cpu{"amd64": macho.CpuAmd64, "arm64": macho.CpuArm64}[arch]; file.Cpu != want {
			t.Errorf("it is for %v", file.Cpu)
		}
		return
	}
	file, err := elf.NewFile(bytes.NewReader(binary.data))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; file.Machine != want {
		t.Errorf("it is for %v", file.Machine)
	}
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 || file.Section(".interp") != nil {
		t.Errorf("it is not static: %v %v", libraries, err)
	}
}

// TestProgram runs the binary for this machine.
func TestProgram(t *testing.T) {
	t.Parallel()
	works(t, program(t))
}

// TestSBOM says that the bills of materials are of the binaries, and know their modules.
func TestSBOM(t *testing.T) {
	t.Parallel()
	for _, platform := range platforms {
		raw, err := os.ReadFile(made(t, platform+".cdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		var bom struct {
			Format   string `json:"bomFormat"`
			Metadata struct {
				Properties []struct{ Name, Value string }
			}
			Components []struct {
				Name     string
				Evidence struct{ Licenses []any }
			}
		}
		if err := json.Unmarshal(raw, &bom); err != nil {
			t.Fatal(err)
		}
		sum := ""
		for _, p := range bom.Metadata.Properties {
			if p.Name == "cdx:gomod:binary:hash:SHA-256" {
				sum = p.Value
			}
		}
		if want := fmt.Sprintf("%x", sha256.Sum256(archive(t, platform)["ocicache"].data)); bom.Format != "CycloneDX" || sum != want {
			t.Errorf("%s: a %s of %s, want of %s", platform, bom.Format, sum, want)
		}
		found := false
		for _, c := range bom.Components {
			found = found || c.Name == "github.com/spf13/cobra"
			if c.Name != "std" && len(c.Evidence.Licenses) == 0 {
				t.Errorf("%s: nothing is known of the license of %s", platform, c.Name)
			}
		}
		if !found {
			t.Errorf("%s: cobra is not among %d components", platform, len(bom.Components))
		}
	}
}

// TestReproducible makes all of it again, as somebody whose files nobody else may read.
func TestReproducible(t *testing.T) {
	t.Parallel()
	again := t.TempDir()
	run(t, nil, "bash", "-c", `umask 077; exec "$0" "$1"`, repository+"/scripts/release/release.sh", again)
	one, two := files(t, filepath.Join(dist, "release")), files(t, filepath.Join(again, "release"))
	for name := range one {
		if !bytes.Equal(one[name], two[name]) {
			t.Errorf("%s has other bytes", name)
		}
	}
	if len(one) != len(two) {
		t.Errorf("%d files, then %d", len(one), len(two))
	}
}
