package main

import (
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// version is set by the linker for releases.
var version = ""

// versionResult is what version writes with --json.
type versionResult struct {
	Version  string                            `json:"version"`
	Go       string                            `json:"go"`
	Platform string                            `json:"platform"`
	Encoders map[buildcache.Compression]string `json:"encoders"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the versions that output bytes depend on",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.runVersion() },
	}
}

func (a *app) runVersion() error {
	result := versionResult{
		Version: versionName(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Encoders: map[buildcache.Compression]string{},
	}
	for _, c := range buildcache.Compressions() {
		if v := compress.Version(c); v != "" {
			result.Encoders[c] = v
		}
	}
	return a.write(result, result.render)
}

func versionName() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func (r versionResult) render(w io.Writer) error {
	say(w, "ocicache %s (%s, %s)\n", r.Version, r.Go, r.Platform)
	for _, c := range buildcache.Compressions() {
		if v := r.Encoders[c]; v != "" {
			say(w, "%s: %s\n", c, v)
		}
	}
	return nil
}
