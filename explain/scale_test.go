package explain_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// chainOf returns provenance of many steps that stand on one another, and a cache that has them all. command says what each
// of them runs.
func chainOf(t testing.TB, steps int, command func(int) string) (*provenance.Build, *layout.Cache) {
	t.Helper()
	var b strings.Builder
	b.WriteString(`{"buildDefinition":{"internalParameters":{"builderPlatform":"linux/amd64","buildConfig":{"llbDefinition":[`)
	fmt.Fprintf(&b, `{"id":"step0","op":{"Op":{"source":{"identifier":"docker-image://base@sha256:%064d"}}}}`, 1)
	for i := 1; i <= steps; i++ {
		fmt.Fprintf(&b, `,{"id":"step%d","inputs":["step%d:0"],"op":{"Op":{"exec":{"meta":{"args":["sh","-c",%q],"cwd":"/"},"mounts":[{"dest":"/"}]}}}}`,
			i, i-1, command(i))
	}
	fmt.Fprintf(&b, `,{"id":"end","inputs":["step%d:0"],"op":{"Op":{}}}]}}}}`, steps)
	builds, err := provenance.Parse([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	config := &buildcache.Config{}
	build := builds[0]
	for i, s := range build.Steps[:steps+1] {
		if i == 0 {
			config.Records = append(config.Records, buildcache.Record{Digest: s.Op.Keys(build.Builder, llb.Pin{})[0].Record(0)})
			continue
		}
		m, err := s.Op.CacheMap(1, build.Builder, llb.FormV17)
		if err != nil {
			t.Fatal(err)
		}
		config.Layers = append(config.Layers, buildcache.Layer{Blob: digest.FromString(s.ID), Parent: i - 2})
		config.Records = append(config.Records, buildcache.Record{
			Digest: m.Key.Record(0), Results: []buildcache.Result{{Layer: i - 1}},
			Inputs: [][]buildcache.Input{{{Selector: m.Deps[0].Selector.String(), Link: i - 1}}},
		})
	}
	return build, &layout.Cache{Root: &buildcache.Root{}, Config: config}
}

// TestManySteps names and decides on more steps than a Dockerfile has, the same command again and again among them.
func TestManySteps(t *testing.T) {
	t.Parallel()
	steps := quicktest.Rounds(500, 2000)
	for name, command := range map[string]func(int) string{
		"different": func(i int) string { return fmt.Sprint("echo ", i) },
		"equal":     func(int) string { return "true" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, cache := chainOf(t, steps, command)
			records, err := explain.NameRecords(t.Context(), cache, []*provenance.Build{b}, explain.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if named, _ := countWays(records); named != steps+1 {
				t.Errorf("%d records named, want all %d", named, steps+1)
			}
			report, err := explain.NewReport(t.Context(), cache, []*provenance.Build{b}, explain.ReportOptions{Why: true})
			if err != nil {
				t.Fatal(err)
			}
			if hits := report.Count(explain.Hit); hits != steps+1 {
				t.Errorf("%d hits, want all %d", hits, steps+1)
			}
			other, _ := chainOf(t, steps, func(i int) string { return fmt.Sprint("false ", i) })
			o := explain.ReportOptions{Why: true}
			o.Old = []*provenance.Build{b}
			report, err = explain.NewReport(t.Context(), cache, []*provenance.Build{other}, o)
			if err != nil {
				t.Fatal(err)
			}
			if first := report.Steps[1].Cause; report.Misses() != steps || first.Kind != explain.CauseOperation || len(first.Diff) != 1 {
				t.Errorf("%d misses, want %d, the first for a command: %+v", report.Misses(), steps, first)
			}
		})
	}
}

// TestManySiblings compares a build of many steps beside one another with another one that has none of them, and says so in
// a time that its size allows: that of go test, as others may run beside.
func TestManySiblings(t *testing.T) {
	t.Parallel()
	steps := quicktest.Rounds(5000, 10_000)
	siblings := func(word string) *provenance.Build {
		b, _ := chainOf(t, steps, func(i int) string { return fmt.Sprint(word, i) })
		for i := 1; i <= steps; i++ {
			b.Steps[i].Inputs[0].Step = 0
		}
		return b
	}
	old, now := siblings("echo "), siblings("false ")
	now.Steps[len(now.Steps)-1].Op = &llb.Op{Merge: &llb.MergeOp{}}
	now.Steps[len(now.Steps)-1].Inputs = nil
	for i := 1; i <= steps; i++ {
		now.Steps[len(now.Steps)-1].Inputs = append(now.Steps[len(now.Steps)-1].Inputs, provenance.Input{Step: i})
	}
	old.Steps[len(old.Steps)-1] = now.Steps[len(now.Steps)-1]
	_, cache := chainOf(t, 1, func(int) string { return "true" })
	o := explain.ReportOptions{Why: true}
	o.Old = []*provenance.Build{old}
	report, err := explain.NewReport(t.Context(), cache, []*provenance.Build{now}, o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Misses() != steps+1 || report.Steps[steps].Cause.Kind != explain.CauseOperation || len(report.Steps[steps].Cause.Diff) != 1 {
		t.Errorf("%d misses, %+v, want %d", report.Misses(), report.Steps[steps].Cause, steps+1)
	}
}

// TestManyEqualSteps decides on one command again and again, which the cache has nowhere: none stands where another does, so that each misses
// for sure. It took hours, for which go test has no time, when each two were compared.
func TestManyEqualSteps(t *testing.T) {
	t.Parallel()
	steps := quicktest.Rounds(5000, 10_000) // a quarter of hours is still more
	b, _ := chainOf(t, steps, func(int) string { return "true" })
	_, cache := chainOf(t, 1, func(int) string { return "false" })
	report, err := explain.NewReport(t.Context(), cache, []*provenance.Build{b}, explain.ReportOptions{Why: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Count(explain.Miss) != steps {
		t.Errorf("%d misses, want %d", report.Count(explain.Miss), steps)
	}
}

func BenchmarkSteps(b *testing.B) {
	for _, steps := range []int{1250, 2500, 5000} {
		build, cache := chainOf(b, steps, func(i int) string { return fmt.Sprint("echo ", i) })
		b.Run(fmt.Sprint("names/", steps), func(b *testing.B) {
			for b.Loop() {
				if _, err := explain.NameRecords(b.Context(), cache, []*provenance.Build{build}, explain.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("why/", steps), func(b *testing.B) {
			for b.Loop() {
				if _, err := explain.NewReport(b.Context(), cache, []*provenance.Build{build}, explain.ReportOptions{Why: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
