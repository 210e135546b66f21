//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// outcome is what BuildKit did with a step.
type outcome string

const (
	cached outcome = "CACHED"
	ran    outcome = "RAN"
)

// step is one instruction of a Dockerfile that makes a layer.
type step struct {
	Name    string
	Outcome outcome
}

// progress is what one build reported.
type progress struct {
	Steps    []step   // sorted by name
	Warnings []string // caches that were not imported, and the like
	Errors   []string // the lines in which buildctl says why it failed
}

// stepName matches the vertices that are steps; a COPY --link has a second
// vertex, `LINK COPY`, which never runs on its own.
var stepName = regexp.MustCompile(`^\[[^\]]*\] (RUN|COPY|ADD|WORKDIR)`)

// vertex is the part of an event of --progress=rawjson that we need.
type vertex struct {
	Digest, Name string
	Cached       bool
	Error        string
}

// parseProgress reads what buildctl prints with --progress=rawjson: events,
// one JSON object a line, between the lines of its log.
func parseProgress(r io.Reader) (progress, error) {
	var p progress
	seen := map[string]*vertex{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Bytes()
		if !bytes.HasPrefix(line, []byte("{")) {
			p.addLogLine(string(line))
			continue
		}
		var event struct{ Vertexes []vertex }
		if err := json.Unmarshal(line, &event); err != nil {
			return progress{}, fmt.Errorf("parse progress: %w", err)
		}
		for _, v := range event.Vertexes {
			merge(seen, v)
		}
	}
	if err := lines.Err(); err != nil {
		return progress{}, fmt.Errorf("read progress: %w", err)
	}
	p.addVertices(seen)
	return p, nil
}

// merge adds an event to what is known about its vertex. One event that says
// cached is enough: a layer that is fetched later opens its vertex again
// without saying so.
func merge(seen map[string]*vertex, v vertex) {
	known, ok := seen[v.Digest]
	if !ok {
		seen[v.Digest] = &v
		return
	}
	known.Cached = known.Cached || v.Cached
	known.Error = cmp.Or(known.Error, v.Error)
}

func (p *progress) addVertices(vertices map[string]*vertex) {
	for _, v := range vertices {
		switch {
		case stepName.MatchString(v.Name):
			p.Steps = append(p.Steps, step{v.Name, v.outcome()})
		case v.Error != "":
			// An import that fails is an error of its vertex and no error of the build.
			p.Warnings = append(p.Warnings, v.Name+": "+v.Error)
		}
	}
	sortSteps(p.Steps)
	slices.Sort(p.Warnings)
}

func (v *vertex) outcome() outcome {
	if v.Cached && v.Error == "" {
		return cached
	}
	return ran
}

func (p *progress) addLogLine(line string) {
	switch {
	case strings.HasPrefix(strings.ToLower(line), "error:"):
		p.Errors = append(p.Errors, line)
	case strings.Contains(line, "fsverity"): // about the file system of the cache, not about the cache
	case strings.Contains(line, "level=warning"):
		p.Warnings = append(p.Warnings, line)
	}
}

func sortSteps(steps []step) {
	slices.SortFunc(steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Outcome, b.Outcome))
	})
}

// addNew adds the steps of a later build that an earlier one did not have. The
// daemon has been warm since, so on the others the earlier one has the say.
func addNew(steps, later []step) []step {
	known := map[string]bool{}
	for _, s := range steps {
		known[s.Name] = true
	}
	for _, s := range later {
		if !known[s.Name] {
			steps = append(steps, s)
		}
	}
	sortSteps(steps)
	return steps
}

// countCached says how many of the steps were cached.
func countCached(steps []step) int {
	return len(steps) - len(stepsThatRan(steps))
}

func stepsThatRan(steps []step) []string {
	var names []string
	for _, s := range steps {
		if s.Outcome == ran {
			names = append(names, s.Name)
		}
	}
	return names
}

func TestParseProgress(t *testing.T) {
	const out = `time="x" level=warning msg="failed check for fsverity support"
time="x" level=warning msg="local cache import at x skipped"
{"vertexes":[{"digest":"a","name":"[b 1/3] RUN one"},{"digest":"b","name":"[b 2/3] COPY two /"}]}
{"vertexes":[{"digest":"a","name":"[b 1/3] RUN one","cached":true},{"digest":"i","name":"[internal] load","cached":true}]}
{"vertexes":[{"digest":"a","name":"[b 1/3] RUN one"},{"digest":"m","name":"importing cache","error":"too large"}]}
{"vertexes":[{"digest":"c","name":"[b 3/3] ADD three /","cached":true},{"digest":"c","name":"[b 3/3] ADD three /","error":"no"}]}
{"statuses":[{"id":"extracting","vertex":"a"}]}
error: failed to solve`
	p, err := parseProgress(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	want := []step{{"[b 1/3] RUN one", cached}, {"[b 2/3] COPY two /", ran}, {"[b 3/3] ADD three /", ran}}
	if !slices.Equal(p.Steps, want) {
		t.Errorf("steps: got %v, want %v", p.Steps, want)
	}
	if len(p.Warnings) != 2 || len(p.Errors) != 1 {
		t.Errorf("got warnings %q and errors %q, want two and one", p.Warnings, p.Errors)
	}
}
