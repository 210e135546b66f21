//go:build release

package release

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// checkInstalled says that what a package installed below a directory is there and works.
func checkInstalled(t *testing.T, dir, zsh string) {
	t.Helper()
	installed := files(t, dir)
	for name, want := range map[string]string{
		"usr/share/bash-completion/completions/ocicache":     "complete -o default",
		"usr/share/fish/vendor_completions.d/ocicache.fish":  "complete -c ocicache",
		"usr/share/zsh/" + zsh + "/_ocicache":                "#compdef ocicache",
		"usr/share/doc/ocicache/copyright":                   "Apache License",
		"usr/share/doc/ocicache/README.md":                   "# ocicache",
		"usr/share/man/man1/ocicache-migrate-run.1.gz (raw)": "EXIT STATUS",
	} {
		name, zipped := strings.CutSuffix(name, " (raw)")
		text := string(installed[name])
		if zipped {
			text = unzip(t, installed[name])
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q", name, want)
		}
	}
	works(t, filepath.Join(dir, "usr/bin/ocicache"))
}

// checkRemoved says that nothing of ours is left. What is in state is the package manager's.
func checkRemoved(t *testing.T, dir string, state ...string) {
	t.Helper()
	for name := range files(t, dir) {
		ours := true
		for _, s := range state {
			ours = ours && !strings.HasPrefix(name, s)
		}
		if ours {
			t.Errorf("%s is left", name)
		}
	}
}

// TestDeb installs the package with dpkg, and removes it.
func TestDeb(t *testing.T) {
	t.Parallel()
	need(t, "dpkg")
	dir, deb := t.TempDir(), made(t, "linux_"+runtime.GOARCH+".deb")
	for _, name := range []string{"info", "updates"} {
		if err := os.MkdirAll(filepath.Join(dir, "var/lib/dpkg", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "dpkg", "--root="+dir, "-i", deb)
	run(t, nil, "dpkg", "--root="+dir, "--verify", "ocicache")
	checkInstalled(t, dir, "vendor-completions")
	run(t, nil, "dpkg", "--root="+dir, "-r", "ocicache")
	checkRemoved(t, dir, "var/lib/dpkg/")
}

// TestRPM installs the package with rpm, and removes it.
func TestRPM(t *testing.T) {
	t.Parallel()
	need(t, "rpm")
	dir := t.TempDir()
	rpm := func(args ...string) {
		run(t, nil, append([]string{"rpm", "--root=" + dir, "--dbpath=/var/lib/rpm"}, args...)...)
	}
	rpm("-i", made(t, "linux_"+runtime.GOARCH+".rpm"))
	rpm("-V", "ocicache")
	checkInstalled(t, dir, "site-functions")
	rpm("-e", "ocicache")
	checkRemoved(t, dir, "var/lib/rpm/")
}

// TestAPK reads the package as apk does, which Debian has not: a compressed control archive and a compressed archive of files,
// whose digest the first has.
func TestAPK(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(made(t, "linux_"+runtime.GOARCH+".apk"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, e := range untar(t, bytes.NewReader(raw)) {
		if strings.HasPrefix(name, "usr") {
			e.write(t, dir, name)
		} else if name != ".PKGINFO" {
			t.Errorf("there is %s", name)
		}
	}
	checkInstalled(t, dir, "site-functions")

	info := string(untar(t, bytes.NewReader(raw))[".PKGINFO"].data)
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	for _, want := range []string{
		"pkgname = ocicache", "pkgver = " + strings.ReplaceAll(version(t), "-", "_"), "arch = " + arch, "depend = ca-certificates-bundle",
		fmt.Sprintf("datahash = %x", sha256.Sum256(afterFirst(t, raw))),
	} {
		if !strings.Contains("\n"+info, "\n"+want+"\n") {
			t.Errorf("it does not say %q:\n%s", want, info)
		}
	}
	for line := range strings.Lines(info) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, " = ") {
			t.Errorf("apk can't read the line %q", line)
		}
	}
}

// afterFirst returns what follows the first compressed part.
func afterFirst(t *testing.T, raw []byte) []byte {
	t.Helper()
	rest := bytes.NewReader(raw) // a ByteReader: gzip reads no further than it has to
	first, err := gzip.NewReader(rest)
	if err != nil {
		t.Fatal(err)
	}
	first.Multistream(false)
	if _, err := io.Copy(io.Discard, first); err != nil {
		t.Fatal(err)
	}
	return raw[len(raw)-rest.Len():]
}
