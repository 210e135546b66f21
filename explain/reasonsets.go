package explain

import (
	"github.com/ocicache/ocicache/buildcache"
)

// claimed returns the records that belong to steps of the build.
func (r *reasons) claimed() map[int]bool {
	if r.claims == nil {
		r.claims = map[int]bool{}
		for _, s := range r.states {
			for _, record := range s.sure {
				r.claims[record] = true
			}
			for _, o := range s.ran {
				r.claims[o.record] = r.claims[o.record] || len(o.needs) == 0
			}
		}
	}
	return r.claims
}

// newKeys returns the steps of the build by their keys.
func (r *reasons) newKeys() map[string][]int {
	if r.keys == nil {
		r.keys = map[string][]int{}
		for step := range r.plan.steps {
			if key := r.plan.current(step); key != nil {
				r.keys[key.key.Text] = append(r.keys[key.key.Text], step)
			}
		}
	}
	return r.keys
}

// newest returns when the newest result of a record was made.
func (g *graph) newest(record int) buildcache.Time {
	var newest buildcache.Time
	for _, result := range g.config.Records[record].Results {
		if result.CreatedAt.After(newest.Time) {
			newest = result.CreatedAt
		}
	}
	return newest
}
