//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// buildTimeout is far above what any of these builds takes.
const buildTimeout = 3 * time.Minute

// errBuild marks a build that BuildKit refused or broke off, as opposed to an
// oracle that does not work.
var errBuild = errors.New("the build failed")

// build is one call of buildctl.
type build struct {
	Context   string
	Target    string   // the last stage if empty
	Platforms []string // the daemon's own if empty
	Imports   []string // as --import-cache takes them
	Exports   []string // as --export-cache takes them
	Outputs   []string // as --output takes them
	Image     string   // further attributes of the output that is an image
}

func (b build) args() []string {
	args := []string{
		"build", "--progress=rawjson", "--frontend=dockerfile.v0",
		"--local", "context=" + b.Context, "--local", "dockerfile=" + b.Context,
	}
	if b.Target != "" {
		args = append(args, "--opt", "target="+b.Target)
	}
	if len(b.Platforms) > 0 {
		args = append(args, "--opt", "platform="+strings.Join(b.Platforms, ","))
	}
	for _, i := range b.Imports {
		args = append(args, "--import-cache", i)
	}
	for _, e := range b.Exports {
		args = append(args, "--export-cache", e)
	}
	for _, o := range b.Outputs {
		args = append(args, "--output", o)
	}
	return args
}

// build runs a build. The progress is valid also with errBuild.
func (d *daemon) build(ctx context.Context, b build) (progress, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, env.buildctl, append([]string{"--addr", d.address()}, b.args()...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	runErr := cmd.Run()
	if ctx.Err() != nil {
		return progress{}, fmt.Errorf("run buildctl: %w", context.Cause(ctx))
	}
	p, err := parseProgress(&out)
	if err != nil {
		return progress{}, err
	}
	var exit *exec.ExitError
	switch {
	case errors.As(runErr, &exit):
		return p, fmt.Errorf("%w: %s", errBuild, strings.Join(p.Errors, "; "))
	case runErr != nil:
		return progress{}, fmt.Errorf("run buildctl: %w", runErr)
	}
	return p, nil
}

// defaultTag is the tag that BuildKit reads and writes if none is given.
const defaultTag = "latest"

// localCache names a cache in a directory for --import-cache.
func localCache(dir, tag string) string {
	return "type=local,src=" + dir + ",tag=" + tag
}
