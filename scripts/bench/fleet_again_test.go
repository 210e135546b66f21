package bench

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// fleetRounds is how often each program is run.
const fleetRounds = 10

// TestFleetAgain compares what it takes to find out that there is nothing to do: both registries have all caches. The programs take turns,
// so that what else the machine does is the same for all. Requests are counted once, by a proxy; the times are those without it.
func TestFleetAgain(t *testing.T) {
	bin, caches := fleetPrograms(t)
	rounds := numberFrom(t, "OCICACHE_FLEET_ROUNDS", fleetRounds)
	src, dst := startRegistry(t), startRegistry(t)
	want := fill(t, src, caches)
	for tag, root := range fill(t, dst, caches) {
		if want[tag] != root {
			t.Fatalf("tag %s is %s and %s", tag, want[tag], root)
		}
	}
	took, processor := map[string][]time.Duration{}, map[string][]time.Duration{}
	for round := range rounds {
		for _, tool := range fleetTools() {
			cost, err := runTool(t, bin, tool, src.behind, dst.behind)
			if err != nil {
				t.Fatalf("%s, round %d: %v", tool, round, err)
			}
			took[tool], processor[tool] = append(took[tool], cost.took), append(processor[tool], cost.processor)
		}
	}
	shortest := slices.Min(took["ocicache"])
	load, err := os.ReadFile("/proc/loadavg")
	t.Logf("%d caches, %d rounds, load %s %v", caches, rounds, load, err)
	for _, tool := range fleetTools() {
		src.reset()
		dst.reset()
		if _, err := runTool(t, bin, tool, src.host, dst.host); err != nil {
			t.Fatalf("%s: %v", tool, err)
		}
		slices.Sort(took[tool])
		least := slices.Min(took[tool])
		t.Logf("%-9s %6d requests at the source, %6d at the destination, %s, %s", tool, src.count(), dst.count(),
			fmt.Sprintf("%.3f s at least (%.2f of ocicache), %.3f s in the middle", least.Seconds(), least.Seconds()/shortest.Seconds(), took[tool][rounds/2].Seconds()),
			fmt.Sprintf("%.3f s of processor time at least", slices.Min(processor[tool]).Seconds()))
	}
}
