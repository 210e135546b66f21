//go:build e2e && linux

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const root = "../../.."

// programs are what the tests run. They are built once.
type programs struct {
	kubernetes                string // the directory that ../cluster/build.sh makes
	ocicache, cluster         string
	ocicacheImage, pauseImage string
}

func buildAll(t *testing.T) programs {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("a cluster needs root")
	}
	dir := t.TempDir()
	p := programs{
		kubernetes: strings.TrimSpace(run(t, "../cluster/build.sh", "--cached")),
		ocicache:   filepath.Join(dir, "ocicache"), ocicacheImage: filepath.Join(dir, "ocicache-image"),
		cluster: filepath.Join(dir, "cluster"), pauseImage: filepath.Join(dir, "pause-image"),
	}
	pause := filepath.Join(dir, "pause")
	build(t, root, "./cmd/ocicache", p.ocicache)
	build(t, "..", "./cluster", p.cluster)
	build(t, "..", "./cluster/pause", pause)
	makeImage(t, p.ocicacheImage, p.ocicache)
	makeImage(t, p.pauseImage, pause)
	return p
}

// cluster is a running one.
type cluster struct {
	programs
	process *exec.Cmd
	dir     string // where it has everything
	ask     io.WriteCloser
	answers *bufio.Scanner
}

// startCluster returns when pods can be made. The cluster ends with the test, and with its process.
func (p programs) startCluster(t *testing.T, nodes ...string) *cluster {
	t.Helper()
	started := time.Now()
	logs, err := filepath.Abs(t.ArtifactDir())
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-programs", p.kubernetes, "-logs", logs, "-pause", p.pauseImage, "-image", "localhost/ocicache=" + p.ocicacheImage}
	c := &cluster{programs: p, process: exec.Command(p.cluster, append(args, nodes...)...)}
	c.process.Stderr = os.Stderr
	in, err := c.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // whether it ends says Wait
		if err := c.process.Wait(); err != nil && c.process.ProcessState.Exited() {
			t.Errorf("end the cluster: %v", err)
		}
	})
	c.ask, c.answers = in, bufio.NewScanner(out)
	if !c.answers.Scan() {
		t.Fatal("the cluster does not start")
	}
	c.dir = c.answers.Text()
	t.Logf("the cluster is up after %.0f s", time.Since(started).Seconds())
	return c
}

// tell has the cluster do something.
func (c *cluster) tell(t *testing.T, what, node string) {
	t.Helper()
	if _, err := fmt.Fprintln(c.ask, what, node); err != nil {
		t.Fatal(err)
	}
	if !c.answers.Scan() || c.answers.Text() != "done" {
		t.Fatalf("%s %s: %q", what, node, c.answers.Text())
	}
}

// kubectl runs kubectl as somebody who may do all. Where the apiserver is too busy to take a connection, it tries again.
func (c *cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	flags := []string{"--kubeconfig", filepath.Join(c.dir, "pki", "admin.kubeconfig"), "--cache-dir", filepath.Join(c.dir, "kubectl")}
	for tries := 1; ; tries++ {
		out, messages, err := outputs(exec.CommandContext(t.Context(), filepath.Join(c.kubernetes, "kubectl"), append(flags, args...)...), nil)
		if err == nil {
			return out
		}
		if tries == 10 || !strings.Contains(messages, "Unable to connect to the server") {
			t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, out, messages)
		}
		time.Sleep(3 * time.Second)
	}
}

// bed is what the tests of the Job share: a cluster with two nodes, a registry with caches, and one for them to go to.
type bed struct {
	*cluster
	source, target registry
	caches         []string          // repositories at the source, each with one cache, tagged latest
	want           map[string]string // the root that each is to have at the target
}

func newBed(t *testing.T) *bed {
	t.Helper()
	p := buildAll(t)
	b := &bed{source: startRegistry(t, nil), target: startRegistry(t, &login{"migrate", "the password of the shards"})}
	b.fill(t, p.ocicache)
	b.cluster = p.startCluster(t, "node-a", "node-b")
	return b
}

// build builds a static program.
func build(t *testing.T, dir, pkg, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	output(t, cmd, nil)
}

// makeImage makes the image of a static program, as the image of ocicache is made, whatever it is.
func makeImage(t *testing.T, layout, program string) {
	t.Helper()
	run(t, "go", "-C", filepath.Join(root, "scripts", "image"), "run", ".", "-tag", "e2e", layout, "linux/"+runtime.GOARCH+"="+program)
}

// run runs a program and returns what it prints.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	return output(t, exec.CommandContext(t.Context(), program, args...), nil)
}

// output runs a command with an input, and returns what it prints.
func output(t *testing.T, cmd *exec.Cmd, in io.Reader) string {
	t.Helper()
	out, messages, err := outputs(cmd, in)
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, messages)
	}
	return out
}

// outputs runs a command with an input, and returns what it prints to standard output and to standard error.
func outputs(cmd *exec.Cmd, in io.Reader) (string, string, error) {
	var out, messages bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &messages
	err := cmd.Run()
	return out.String(), messages.String(), err
}
