package migrate

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/ocicache/ocicache/layout"
)

// rivals are the migrations of a plan that may share a target. Before any of them brings anything, each says where all the caches
// that it chooses go, including those of other shards and those that are done: so every shard and every run sees the same
// collisions.
type rivals struct {
	members int
	listed  chan struct{} // closed when all have said so, or can't

	mu     sync.Mutex
	waits  int
	seed   maphash.Seed
	claims map[uint64]*claim // by a hash of their goals, as there may be very many
}

// goal is where a cache goes.
type goal struct {
	place place
	tag   string
}

// claim is a cache that goes somewhere.
type claim struct {
	by          *work
	tag, digest string // digest only if there is no tag
	next        *claim // the next claim whose goal has the same hash
}

// works returns the work for each migration, with its rivals.
func (r *runner) works() []*work {
	works := make([]*work, len(r.plan.Migrations))
	spread := map[string]bool{} // hosts where tags determine the place
	targets := make([]place, len(works))
	for i, m := range r.plan.Migrations {
		works[i] = &work{runner: r, m: m, result: &Result{Source: m.Source, Target: m.Target, As: m.Change.String()}}
		r.summary.Migrations = append(r.summary.Migrations, works[i].result)
		source, err := layout.ParseReference(m.Source)
		if err != nil {
			continue // the migration reports it
		}
		if ref, err := m.targetFor(source, "tag"); err == nil {
			targets[i] = placeOf(ref)
			spread[placeOf(ref).host] = spread[placeOf(ref).host] || hasTagInPlace(m.Target)
		}
	}
	groups := map[place]*rivals{}
	for i, w := range works {
		in := targets[i]
		if spread[in.host] {
			in.path = ""
		}
		if groups[in] == nil {
			groups[in] = &rivals{listed: make(chan struct{}), seed: maphash.MakeSeed(), claims: map[uint64]*claim{}}
		}
		w.rivals = groups[in]
		w.rivals.members++
		w.rivals.waits++
	}
	return works
}

// done says that a migration has said where its caches go, or can't.
func (v *rivals) done() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waits--; v.waits == 0 {
		close(v.listed)
	}
}

// claim says where the chosen caches of a migration go.
func (w *work) claim(chosen []candidate) {
	var last layout.Reference // without a tag: mostly all caches go to one place, and share its name
	var at place
	for _, c := range chosen {
		ref, err := w.targetOf(c.tag)
		if err != nil {
			continue
		}
		tag := ref.Tag
		if ref.Tag = ""; ref != last {
			last, at = ref, placeOf(ref)
		}
		w.rivals.add(goal{at, tag}, w.claimOf(c))
	}
}

func (w *work) claimOf(c candidate) claim {
	made := claim{by: w, tag: c.tag}
	if c.tag == "" && c.entry != nil {
		made.digest = c.entry.Descriptor.Digest.String()
	}
	return made
}

func (v *rivals) add(at goal, c claim) {
	v.mu.Lock()
	defer v.mu.Unlock()
	hash := maphash.Comparable(v.seed, at)
	c.next = v.claims[hash]
	v.claims[hash] = &c
}

// rivalOf returns another cache that goes where this one goes.
func (v *rivals) rivalOf(at goal, c claim) (claim, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for other := v.claims[maphash.Comparable(v.seed, at)]; other != nil; other = other.next {
		if other.isRival(c) && other.goesTo(at) {
			return *other, true
		}
	}
	return claim{}, false
}

// goesTo reports whether a cache goes to a goal.
func (c claim) goesTo(at goal) bool {
	ref, err := c.by.targetOf(c.tag)
	return err == nil && goal{placeOf(ref), ref.Tag} == at
}

// isRival reports whether one of two caches would replace the other. They are no rivals if they are the same cache and become the same.
// A cache without a tag gives way to one with the tag that it would get.
func (c claim) isRival(of claim) bool {
	if c.by == of.by {
		return (c.tag != of.tag || c.digest != of.digest) && (c.tag != "" || of.tag == "")
	}
	return c.by.place() != of.by.place() || c.tag != of.tag || c.digest != of.digest || c.by.m.Change != of.by.m.Change
}

// String names the cache, and what it is to become if the plan changes it.
func (c claim) String() string {
	name := c.by.m.Source
	if c.by.source.Tag == "" && c.by.source.Digest == "" {
		name += ":" + cmp.Or(c.tag, c.digest)
	}
	return strings.TrimSpace(name + " " + asWords(c.by.m.Change))
}

func asWords(c Change) string {
	if c == (Change{}) {
		return ""
	}
	return "as " + c.String()
}

// ClaimedError says that two caches of a plan have the same target. Neither is brought there.
type ClaimedError struct{ Target, By string }

func (e *ClaimedError) Error() string {
	return fmt.Sprintf("%s is where %s goes, too; one would replace the other", e.Target, e.By)
}

// unclaimed returns the caches that no other would replace, and records that the others failed.
func (w *work) unclaimed(ours []candidate) []candidate {
	return slices.DeleteFunc(ours, func(c candidate) bool {
		ref, err := w.targetOf(c.tag)
		if err == nil {
			if other, ok := w.rivals.rivalOf(goal{placeOf(ref), ref.Tag}, w.claimOf(c)); ok {
				err = &ClaimedError{Target: nameOf(ref), By: other.String()}
			}
		}
		if err == nil {
			return false
		}
		line := Record{Source: w.m.Source, Tag: c.tag}
		if c.entry != nil {
			line.From = c.entry.Descriptor.Digest
		}
		w.end(w.failure(line, err))
		return true
	})
}
