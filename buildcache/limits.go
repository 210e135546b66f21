package buildcache

import "fmt"

// Limit says that BuildKits before some version can't use a cache, why, and what they do instead.
type Limit struct {
	Before string // such as "v0.12"
	Reason string
	Effect Effect
}

// String returns the limit as a sentence.
func (l Limit) String() string {
	what := "silently get no hits from it"
	if l.Effect == BuildFails {
		what = "fail builds that hit it"
	}
	return fmt.Sprintf("BuildKits before %s %s: %s", l.Before, what, l.Reason)
}

// Limits returns which BuildKits can't use a cache, judging by its form, layers and records. This was measured with v0.8.3,
// v0.11.6 and v0.12.5; all of them can use a Docker list of gzip or uncompressed layers.
func Limits(root *Root, config *Config) []Limit {
	var limits []Limit
	if !root.Form.IsList() {
		limits = append(limits, Limit{"v0.12", "it is a manifest instead of a list", HitsLost})
	}
	limits = append(limits, layerLimits(root)...)
	for _, record := range config.Records {
		if len(record.Chains) > 0 {
			limits = append(limits, Limit{"v0.10", "its records have chains", HitsLost})
			break
		}
	}
	return limits
}

// layerLimits returns the limits of the root's layers, one for each compression that some BuildKits can't unpack.
func layerLimits(root *Root) []Limit {
	var limits []Limit
	for _, c := range compressionTypes {
		before := ""
		for _, layer := range root.Layers {
			switch t, _ := parseLayerType(layer.MediaType); {
			case t.name != c.name:
			case t.docker && c.sinceDocker != "": // which is later than for OCI's
				before = c.sinceDocker
			case before == "":
				before = c.since
			}
		}
		if before != "" {
			limits = append(limits, Limit{before, fmt.Sprintf("it has %s layers", c.name), BuildFails})
		}
	}
	return limits
}
