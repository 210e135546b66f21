//go:build man

package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestManPages says that the pages have options as the help has them, and that the first one lists the commands.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := (&app{stdout: io.Discard, stderr: io.Discard}).command()
	if err := writeManPages(root, dir, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	for name, lines := range map[string][]string{
		"ocicache.1": {
			`\fBocicache COMMAND [flags]\fP`, `\fBocicache-gc\fP(1)`, "Remove what no tag in a directory reaches any more", `\fB--jobs\fP \fIN\fP`,
		},
		"ocicache-gc.1":         {`\fB--dry-run\fP`, `\fB--keep-since\fP \fIAGE\fP`, "keep what is younger than this \\fBAGE\\fR, such as 12h or 7d; 0s where nothing writes there but what takes the lock (default 24h)"},
		"ocicache-completion.1": {`\fBocicache completion SHELL\fP`, `\fBocicache-completion-bash\fP(1)`},
	} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains("\n"+strings.ReplaceAll(string(page), "\t", ""), "\n"+line+"\n") {
				t.Errorf("%s has no line %s:\n%s", name, line, page)
			}
		}
		for _, wrong := range []string{"[=false]", "\\fP=0", `\fP=""`, "[=[]]"} {
			if strings.Contains(string(page), wrong) {
				t.Errorf("%s has %s", name, wrong)
			}
		}
	}
}
