//go:build release

package release

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// action is as much of action.yml as a runner needs.
type action struct {
	Inputs map[string]struct{ Default string }
	Runs   struct {
		Using string
		Steps []step
	}
}

type step struct {
	Name, If, Shell, Run string
	Env                  map[string]string
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// releases returns a place to download the release from.
func releases(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	from, err := filepath.Abs(filepath.Join(dist, "release"))
	if err == nil {
		err = os.Symlink(from, filepath.Join(dir, "v"+version(t)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return "file://" + dir
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

var expression = regexp.MustCompile(`\$\{\{ inputs\.([a-z]+) \}\}`)

// act runs the action as GitHub's runner does, with what is given for its inputs.
func act(t *testing.T, given map[string]string) (string, error) {
	t.Helper()
	var a action
	readYAML(t, repository+"/action.yml", &a)
	if a.Runs.Using != "composite" || len(a.Runs.Steps) == 0 {
		t.Fatalf("%+v", a.Runs)
	}
	input := func(name string) string {
		declared, ok := a.Inputs[name]
		if !ok {
			t.Fatalf("there is no input %s", name)
		}
		if value, ok := given[name]; ok {
			return value
		}
		return declared.Default
	}
	path := filepath.Join(t.TempDir(), "path")
	var said strings.Builder
	for _, s := range a.Runs.Steps {
		if strings.Contains(s.Run, "${{") || s.Shell != "bash" {
			t.Errorf("step %s: inputs go through the environment, to bash", s.Name)
		}
		if name, ok := strings.CutSuffix(strings.TrimPrefix(s.If, "inputs."), " != ''"); ok && input(name) == "" {
			continue
		} else if !ok && s.If != "" {
			t.Fatalf("what is %q?", s.If)
		}
		env := []string{"GITHUB_PATH=" + path, "RUNNER_TEMP=" + t.TempDir(), "RUNNER_OS=Linux", "RUNNER_ARCH=" + map[string]string{"amd64": "X64", "arm64": "ARM64"}[runtime.GOARCH]}
		if added, err := os.ReadFile(path); err == nil {
			env = append(env, "PATH="+strings.TrimSpace(string(added))+":"+os.Getenv("PATH"))
		}
		for name, value := range s.Env {
			env = append(env, name+"="+expression.ReplaceAllStringFunc(value, func(e string) string { return input(expression.FindStringSubmatch(e)[1]) }))
		}
		out, err := try(t, env, "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", s.Run)
		said.WriteString(out)
		if err != nil {
			return said.String(), err
		}
	}
	return said.String(), nil
}

// TestAction installs the release with the action, and converts a cache.
func TestAction(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	to := filepath.Join(t.TempDir(), "a cache; with a $name")
	said, err := act(t, map[string]string{
		"version": version(t), "checksum": sumOf(t, dist+"/release/SHA256SUMS"), "releases": releases(t),
		"source": repository + "/testdata/caches/docker-list-gzip", "target": to, "form": "artifact", "compression": "zstd",
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if shown := run(t, nil, program(t), "inspect", to); !strings.Contains(shown, "artifact") || !strings.Contains(shown, "zstd") {
		t.Errorf("it made\n%s", shown)
	}
}

// TestActionOnlyInstalls says that a cache is not asked for.
func TestActionOnlyInstalls(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	said, err := act(t, map[string]string{"version": "v" + version(t), "checksum": sumOf(t, dist+"/release/SHA256SUMS"), "releases": releases(t)})
	if err != nil || !strings.Contains(said, "ocicache ") || strings.Contains(said, "converted") {
		t.Errorf("%v\n%s", err, said)
	}
}

// TestActionRefuses says that nothing is run whose sum is another one, and that a target has to be said.
func TestActionRefuses(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	right := sumOf(t, dist+"/release/SHA256SUMS")
	damaged := t.TempDir()
	if err := os.CopyFS(filepath.Join(damaged, "v"+version(t)), os.DirFS(dist+"/release")); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(damaged, "v"+version(t), "ocicache_"+version(t)+"_linux_"+runtime.GOARCH+".tar.gz")
	if err := os.WriteFile(name, archive(t, "linux_"+runtime.GOARCH)["LICENSE"].data, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, inputs := range map[string]map[string]string{
		"SHA256SUMS: FAILED":    {"checksum": strings.Repeat("0", 64)},
		"no properly formatted": {"checksum": ""},
		".tar.gz: FAILED":       {"checksum": right, "releases": "file://" + damaged},
		"TARGET: is not said":   {"checksum": right, "source": "cache"},
		"Couldn't open file":    {"checksum": right, "version": "0.0.1"},
	} {
		inputs["version"] = first(inputs["version"], version(t))
		inputs["releases"] = first(inputs["releases"], releases(t))
		if said, err := act(t, inputs); err == nil || !strings.Contains(said, want) {
			t.Errorf("%v: %v, want %q:\n%s", inputs, err, want, said)
		}
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// TestGitLab runs what the fragment for GitLab does, with a registry of ours.
func TestGitLab(t *testing.T) {
	t.Parallel()
	need(t, "curl", "docker-registry")
	var pipeline struct {
		Job struct {
			Variables map[string]string
			Script    []string
		} `yaml:"convert-cache"`
	}
	readYAML(t, repository+"/scripts/examples/gitlab-convert.yml", &pipeline)
	host, dir := startRegistry(t), t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "cache"), os.DirFS(repository+"/testdata/caches/docker-list-gzip")); err != nil {
		t.Fatal(err)
	}
	insecure := filepath.Join(dir, "registries.conf")
	if err := os.WriteFile(insecure, fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n", host), 0o600); err != nil {
		t.Fatal(err)
	}
	ours := map[string]string{"OCICACHE": version(t), "OCICACHE_SHA256": sumOf(t, made(t, "linux_amd64.tar.gz")), "RELEASES": releases(t)}
	env := []string{
		"CI_REGISTRY=" + host, "CI_REGISTRY_IMAGE=" + host + "/team/app", "CI_REGISTRY_USER=u", "CI_REGISTRY_PASSWORD=p",
		"CI_COMMIT_REF_SLUG=main", "CONTAINERS_REGISTRIES_CONF=" + insecure, "DIR=" + dir,
	}
	for name := range pipeline.Job.Variables {
		if ours[name] == "" {
			t.Fatalf("what is %s?", name)
		}
		env = append(env, name+"="+ours[name])
	}
	run(t, env, "bash", "-eo", "pipefail", "-c", "cd \"$DIR\"\n"+strings.Join(pipeline.Job.Script, "\n"))
	if said := run(t, env, program(t), "inspect", "docker://"+host+"/team/app/cache:main"); !strings.Contains(said, "artifact") {
		t.Errorf("it made\n%s", said)
	}
}
