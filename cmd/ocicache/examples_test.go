package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/migrate"
)

// exampleDir is where the examples lie.
const exampleDir = "../../scripts/examples"

// example is a place to run examples in, which trusts its registries.
type example struct {
	dir      string
	old, new *registrytest.Server
	env      []string
}

func newExample(t *testing.T) *example {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no shell")
		}
		t.Skip("NOT TESTED: there is no shell")
	}
	e := &example{dir: t.TempDir(), old: registrytest.New(t, registrytest.Options{TakesLists: true}), new: registrytest.New(t, registrytest.Options{})}
	conf := filepath.Join(e.dir, "registries.conf")
	var text strings.Builder
	for _, s := range []*registrytest.Server{e.old, e.new} {
		fmt.Fprintf(&text, "[[registry]]\nlocation = %q\ninsecure = true\n", s.Host)
	}
	if err := os.WriteFile(conf, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	e.env = append(os.Environ(), "CONTAINERS_REGISTRIES_CONF="+conf, "GORACE="+noSleep, "HOME="+e.dir)
	return e
}

// run runs a command line, and returns its standard output.
func (e *example) run(t *testing.T, env []string, words ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Dir, cmd.Env = e.dir, append(e.env, env...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(words, " "), err, out.String(), stderr.String())
	}
	return out.String()
}

// script runs an example as it stands.
func (e *example) script(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(exampleDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return e.run(t, nil, append([]string{path}, args...)...)
}

// cache copies a cache of the corpus to a repository.
func (e *example) cache(t *testing.T, name, to string) {
	t.Helper()
	from, err := filepath.Abs(filepath.Join(corpus, name))
	if err != nil {
		t.Fatal(err)
	}
	e.run(t, nil, "ocicache", "copy", from, to)
}

// plan puts an example's plan, with the registries of the test in place of those that it names, into the directory.
func (e *example) plan(t *testing.T, name string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(exampleDir, name))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("old.example.com", e.old.Host, "new.example.com", e.new.Host).Replace(string(raw))
	if err := os.WriteFile(filepath.Join(e.dir, "plan.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantText(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, text)
		}
	}
}

// TestExampleRewrite rewrites repositories where they are.
func TestExampleRewrite(t *testing.T) {
	t.Parallel()
	e := newExample(t)
	app, web := e.old.Host+"/team/app", e.old.Host+"/team/web"
	e.cache(t, "docker-list-gzip", "docker://"+app+":main")
	e.cache(t, "oci-index-zstd", "docker://"+web+":main")
	e.cache(t, "artifact-gzip", "docker://"+web+":done")
	e.old.Forget()
	wantText(t, e.script(t, "rewrite-as-artifacts.sh", app, web), "3 caches planned: 2 copied, 1 already there")
	if n := e.old.Count("PUT", "/blobs/uploads/"); n > 0 {
		t.Errorf("%d blobs were sent", n)
	}
	for _, repository := range []string{app, web} {
		wantText(t, e.run(t, nil, "ocicache", "inspect", "docker://"+repository+":main"), "artifact")
		e.run(t, nil, "ocicache", "verify", "docker://"+repository+":main", "--deep")
	}
	wantText(t, e.script(t, "rewrite-as-artifacts.sh", app, web), "0 copied, 0 already there, 3 done before")
}

// TestExampleZstd recompresses on the way.
func TestExampleZstd(t *testing.T) {
	t.Parallel()
	e := newExample(t)
	e.cache(t, "docker-list-gzip", "docker://"+e.old.Host+"/team/app-cache:release-1")
	e.cache(t, "artifact-gzip", "docker://"+e.old.Host+"/team/app-cache:scratch")
	e.plan(t, "zstd-plan.yaml")
	wantText(t, e.run(t, nil, "ocicache", "migrate", "check", "plan.yaml"), "1 to copy", "1 by allow")
	wantText(t, e.run(t, nil, "ocicache", "migrate", "run", "plan.yaml", "--state", "zstd.jsonl"), "1 cache planned: 1 copied")
	wantText(t, e.run(t, nil, "ocicache", "inspect", "docker://"+e.new.Host+"/team/app-cache:release-1"), "artifact", "zstd")
}

// TestExampleMirror mirrors over an air gap, twice: the second time only what is new crosses it.
func TestExampleMirror(t *testing.T) {
	t.Parallel()
	e := newExample(t)
	plan := fmt.Sprintf("version: 1\nmigrations:\n  - source: docker://%s/team/app\n    target: oci:near:app-{tag}\n", e.old.Host)
	if err := os.WriteFile(filepath.Join(e.dir, "plan.yaml"), []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	e.cache(t, "artifact-gzip", "docker://"+e.old.Host+"/team/app:one")
	wantText(t, e.script(t, "mirror-out.sh", "plan.yaml", "near", "w1.tar"), "1 copied")
	wantText(t, e.script(t, "mirror-in.sh", "w1.tar", "far", e.new.Host+"/mirror"), "1 copied")
	e.run(t, nil, "cp", "far.receipt", "near.receipt")

	e.cache(t, "stale-blobs", "docker://"+e.old.Host+"/team/app:two")
	wantText(t, e.script(t, "mirror-out.sh", "plan.yaml", "near", "w2.tar"), "1 copied, 0 already there, 1 done before", "left out")
	wantText(t, e.script(t, "mirror-in.sh", "w2.tar", "far", e.new.Host+"/mirror"), "1 copied, 0 already there, 1 done before")
	for _, tag := range []string{"app-one", "app-two"} {
		e.run(t, nil, "ocicache", "verify", "docker://"+e.new.Host+"/mirror:"+tag, "--deep")
	}
}

// TestExamplePipelines runs what the pipelines of two services would: each of their shards.
func TestExamplePipelines(t *testing.T) {
	t.Parallel()
	var gitlab struct {
		Job struct {
			Parallel int      `yaml:"parallel"`
			Script   []string `yaml:"script"`
			After    []string `yaml:"after_script"`
		} `yaml:"migrate-caches"`
	}
	readYAML(t, "gitlab-ci.yml", &gitlab)
	var github struct {
		Jobs struct {
			Migrate struct {
				Strategy struct {
					Matrix struct {
						Shard []int `yaml:"shard"`
					} `yaml:"matrix"`
				} `yaml:"strategy"`
				Env   map[string]string `yaml:"env"`
				Steps []struct {
					Run string `yaml:"run"`
				} `yaml:"steps"`
			} `yaml:"migrate"`
		} `yaml:"jobs"`
	}
	readYAML(t, "github-actions.yml", &github)
	job := github.Jobs.Migrate
	var steps []string
	for _, step := range job.Steps {
		if step.Run != "" {
			steps = append(steps, step.Run)
		}
	}
	for name, pipeline := range map[string]struct {
		shards int
		lines  []string
		env    func(shard int) []string
	}{
		"gitlab": {gitlab.Job.Parallel, append(gitlab.Job.Script, gitlab.Job.After...), func(shard int) []string {
			return []string{"PLAN=plan.yaml", fmt.Sprint("CI_NODE_INDEX=", shard), fmt.Sprint("CI_NODE_TOTAL=", gitlab.Job.Parallel)}
		}},
		"github": {len(job.Strategy.Matrix.Shard), steps, func(shard int) []string {
			return []string{"PLAN=" + job.Env["PLAN"], "SHARD=" + strings.Replace(job.Env["SHARD"], "${{ matrix.shard }}", fmt.Sprint(shard), 1)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if pipeline.shards < 2 || len(pipeline.lines) < 2 {
				t.Fatalf("got %+v", pipeline)
			}
			e := newExample(t)
			for n := range 6 {
				e.cache(t, "multi-platform", fmt.Sprintf("docker://%s/team/app-cache:release-%d", e.old.Host, n))
			}
			e.plan(t, "zstd-plan.yaml")
			caches := 0
			for shard := 1; shard <= pipeline.shards; shard++ {
				for _, line := range pipeline.lines {
					e.run(t, pipeline.env(shard), "sh", "-euc", line)
				}
				state := migrate.NewState()
				raw, err := os.ReadFile(filepath.Join(e.dir, "caches.jsonl"))
				if err != nil {
					t.Fatal(err)
				}
				if err := state.Read("state", bytes.NewReader(raw)); err != nil {
					t.Fatal(err)
				}
				caches += migrate.NewReport(state).Done
				for _, name := range []string{"caches.jsonl", "caches.html"} { // each job has its own
					if err := os.Remove(filepath.Join(e.dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if caches != 6 {
				t.Errorf("%d caches were copied by the shards, want 6", caches)
			}
		})
	}
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(exampleDir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}
