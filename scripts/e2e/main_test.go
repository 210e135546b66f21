//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// env is what the tests run with; TestMain fills it once.
var env struct {
	dir string // for the whole run

	buildkitd, buildctl string
	missing             []string // what of BuildKit's side is not there, one sentence each

	ocicache    string
	ocicacheErr error // why ocicache could not be built
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	forbidCachedResult()
	dir, err := os.MkdirTemp("", "ocicache-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()

	env.dir = dir
	findBuildKit()
	if len(env.missing) > 0 {
		warnMissing()
	} else {
		env.ocicache, env.ocicacheErr = buildOcicache()
	}
	code := m.Run()
	fmt.Fprint(os.Stderr, timings.String())
	return code
}

// forbidCachedResult keeps go test from storing the result of this run. It
// looks only at what the test binary is made of and reads itself, so it would
// show a pass of yesterday for the ocicache of today. -count=1 is the
// documented way; without a log of what was read there is no way to forget it.
func forbidCachedResult() {
	flag.Parse()
	_ = flag.Set("test.testlogfile", "")
}

func findBuildKit() {
	var err error
	if env.buildkitd, err = findProgram("BUILDKITD", "buildkitd"); err != nil {
		env.missing = append(env.missing, err.Error())
	}
	if env.buildctl, err = findProgram("BUILDCTL", "buildctl"); err != nil {
		env.missing = append(env.missing, err.Error())
	}
	if _, err = exec.LookPath("runc"); err != nil {
		env.missing = append(env.missing, "runc is not on the PATH: scripts/e2e-setup.sh --install gets it")
	}
	if os.Getuid() != 0 {
		env.missing = append(env.missing, "buildkitd needs root: run the tests as root")
	}
}

// findProgram gives the absolute path of the program that the environment
// variable names, else of the one that e2e-setup.sh builds.
func findProgram(variable, name string) (string, error) {
	path := os.Getenv(variable)
	if path == "" {
		path = filepath.Join("..", "..", ".bin", name)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("%s is not at %s: scripts/e2e-setup.sh builds it, or set %s", name, path, variable)
	}
	return path, nil
}

func warnMissing() {
	line := strings.Repeat("!", 72)
	fmt.Fprintf(os.Stderr, "%s\n!! END-TO-END TESTS DO NOT RUN. NOTHING IS PROVED.\n", line)
	for _, what := range env.missing {
		fmt.Fprintf(os.Stderr, "!! %s\n", what)
	}
	fmt.Fprintf(os.Stderr, "!! E2E=required turns this into a failure.\n%s\n", line)
}

// needBuildKit skips or fails the test where BuildKit can't be run.
func needBuildKit(t *testing.T) {
	t.Helper()
	switch {
	case len(env.missing) == 0:
	case os.Getenv("E2E") == "required":
		t.Fatalf("E2E=required, but %s", strings.Join(env.missing, "; "))
	default:
		t.Skip("SKIPPED, NOTHING IS PROVED: " + strings.Join(env.missing, "; "))
	}
}

// needOcicache is needBuildKit for the tests that run ocicache as well.
func needOcicache(t *testing.T) {
	t.Helper()
	needBuildKit(t)
	if env.ocicacheErr != nil {
		t.Fatal(env.ocicacheErr)
	}
}

// full reports whether the whole matrix is wanted.
func full() bool { return os.Getenv("E2E_FULL") == "1" }

// buildOcicache builds the program that is tested, unless OCICACHE names one.
func buildOcicache() (string, error) {
	if path := os.Getenv("OCICACHE"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(env.dir, "ocicache")
	build := exec.Command("go", "build", "-o", path, "./cmd/ocicache")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", errors.Join(fmt.Errorf("build ocicache: %w", err), errors.New(string(out)))
	}
	return path, nil
}
