package buildcache

import (
	"encoding/binary"

	"github.com/opencontainers/go-digest"
)

// families groups the records that BuildKit may unite into one when it imports them.
type families struct {
	of      []int   // the family of each record
	members [][]int // the records of each family
}

// maxRounds bounds how often unions of records may lead to further ones among records that they depend on. One round is usual,
// two are common in caches that were merged. Beyond the bound, a record may count as unneeded although BuildKit would unite it
// with one that is needed.
const maxRounds = 32

// families returns which records BuildKit may unite: those with the same digest that share an alternative of every input, by
// links to the same family. BuildKit (CacheChains.Add) also requires one record with which all inputs are shared, while here
// each may be shared through a chain of others; so it may unite fewer, never more.
func (v *imported) families() families {
	u := &unifier{imported: v, records: newPartition(len(v.hit))}
	generations := v.generations()
	for range maxRounds {
		before := u.records.unions
		u.slots, u.nodes, u.first = map[slotOf]int{}, newPartition(0), map[string]int{}
		u.places = make([][]int, len(v.hit))
		for _, generation := range generations {
			u.link(generation)
			u.unite(generation)
		}
		u.unite(v.order) // what was linked later may have brought earlier ones together
		if u.records.unions == before {
			break
		}
	}
	f := families{of: make([]int, len(v.hit)), members: make([][]int, len(v.hit))}
	for i := range f.of {
		f.of[i] = u.records.find(i)
		f.members[f.of[i]] = append(f.members[f.of[i]], i)
	}
	return f
}

// generations returns the records that can be hit, grouped by the length of the longest path to one without inputs.
func (v *imported) generations() [][]int {
	var generations [][]int
	at := make([]int, len(v.hit))
	for _, i := range v.order {
		for _, link := range v.Config.Records[i].links() {
			if v.hit[link] {
				at[i] = max(at[i], at[link]+1)
			}
		}
		for len(generations) <= at[i] {
			generations = append(generations, nil)
		}
		generations[at[i]] = append(generations[at[i]], i)
	}
	return generations
}

// unifier unites records. Each input of the records with one digest has a node for each alternative; the nodes of the
// alternatives of one record are united.
type unifier struct {
	*imported
	records partition
	nodes   partition
	slots   map[slotOf]int
	places  [][]int        // a node for each input of each record
	first   map[string]int // the first record by digest and nodes
}

// slotOf is an alternative of one input of the records with the same digest and number of inputs.
type slotOf struct {
	digest       digest.Digest
	inputs, slot int
	selector     string
	family       int
}

// link finds the nodes of records.
func (u *unifier) link(records []int) {
	for _, i := range records {
		inputs := u.inputs(i)
		u.places[i] = make([]int, len(inputs))
		for slot, alternatives := range inputs {
			for j, input := range alternatives {
				node := u.node(slotOf{u.Config.Records[i].Digest, len(inputs), slot, input.Selector, u.records.find(input.Link)})
				if j == 0 {
					u.places[i][slot] = node
				}
				u.nodes.unite(u.places[i][slot], node)
			}
		}
	}
}

func (u *unifier) node(slot slotOf) int {
	node, ok := u.slots[slot]
	if !ok {
		node = u.nodes.add()
		u.slots[slot] = node
	}
	return node
}

// unite unites the records whose inputs all have the same nodes.
func (u *unifier) unite(records []int) {
	for _, i := range records {
		key := []byte(u.Config.Records[i].Digest)
		for _, node := range u.places[i] {
			key = binary.BigEndian.AppendUint64(key, uint64(u.nodes.find(node)))
		}
		first, ok := u.first[string(key)]
		if !ok {
			first = i
			u.first[string(key)] = i
		}
		u.records.unite(first, i)
	}
}

// partition says which of the numbers from 0 on belong together.
type partition struct {
	parents []int
	unions  int
}

func newPartition(n int) partition {
	p := partition{}
	for range n {
		p.add()
	}
	return p
}

func (p *partition) add() int {
	p.parents = append(p.parents, len(p.parents))
	return len(p.parents) - 1
}

// find returns the number that stands for i and all that belongs with it.
func (p *partition) find(i int) int {
	for p.parents[i] != i {
		p.parents[i] = p.parents[p.parents[i]]
		i = p.parents[i]
	}
	return i
}

// unite joins what belongs to a with what belongs to b.
func (p *partition) unite(a, b int) {
	a, b = p.find(a), p.find(b)
	if a != b {
		p.parents[max(a, b)] = min(a, b)
		p.unions++
	}
}
