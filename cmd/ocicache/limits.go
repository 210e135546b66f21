package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
)

// limitFlags say how much of a cache to keep.
type limitFlags struct {
	convert.Limits

	flags *pflag.FlagSet
}

// add adds the flags in the order in which the rules are applied. result names what they apply to.
func (f *limitFlags) add(flags *pflag.FlagSet, result string) {
	f.flags = flags
	flags.StringVar(&f.OlderThan, "older-than", "", "drop results older than `AGE`: "+convert.AgeExamples)
	flags.BoolVar(&f.Leaves, "leaves", false, "keep only the final results of builds, as mode=min does")
	flags.IntVar(&f.KeepRecords, "keep-records", 0, "drop the oldest results until `N` records are left")
	flags.StringVar(&f.KeepBytes, "keep-bytes", "", "drop the oldest results until layers are below this `SIZE`")
	flags.BoolVar(&f.Fit, "fit", false, "drop the oldest results until BuildKit imports the "+result)
}

// given reports whether any rule is set.
func (f *limitFlags) given() bool { return f.Limits != convert.Limits{} }

// rules converts the flags to rules. A flag with an empty value is an error: what was meant is unknown, and ignoring it would keep
// everything.
func (f *limitFlags) rules(now time.Time) (buildcache.PruneRules, error) {
	for _, name := range []string{"older-than", "keep-bytes"} {
		if flag := f.flags.Lookup(name); flag.Changed && flag.Value.String() == "" {
			return buildcache.PruneRules{}, fmt.Errorf("--%s is empty; leave it out to keep everything", name)
		}
	}
	rules, err := f.Limits.Rules(now)
	if err != nil {
		return rules, fmt.Errorf("--%w", err)
	}
	return rules, nil
}
