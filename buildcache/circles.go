package buildcache

import "slices"

// maxCuts bounds how often circles are looked for. After a cut, what is left may be united differently; one more look is usual.
const maxCuts = 32

// circles finds the records that would depend on each other if BuildKit united all that it may unite, in a config without
// records that nothing can hit. BuildKit v0.34.2 also unites records that depend on each other (CacheChains.Add), and then
// follows the circle until its stack overflows, which ends the daemon. The result has a number for each record; records in the
// same circle have the same number. It is nil if there are no circles.
func (v *imported) circles() []int {
	f := v.families()
	links := make([][]int, len(f.members))
	circle := false
	for _, i := range v.order {
		for _, link := range v.Config.Records[i].links() {
			circle = circle || f.of[link] == f.of[i]
			links[f.of[i]] = append(links[f.of[i]], f.of[link])
		}
	}
	components, n := connected(links)
	if !circle && n == len(links) {
		return nil
	}
	at := make([]int, len(f.of))
	for i, family := range f.of {
		at[i] = components[family]
	}
	return at
}

// cutCircles removes alternatives that would become part of a circle from inputs that have another one, and returns how many it
// removed; 0 if there are no circles. There is always such an input: otherwise, all records of a family would agree on which of
// their inputs lead into the circle; no input of the first record in it does, because records themselves do not loop; so
// nothing would lead from its family to the others.
func (v *imported) cutCircles() int {
	at := v.circles()
	if at == nil {
		return 0
	}
	cut := 0
	for i, record := range v.Config.Records {
		inCircle := func(input Input) bool { return at[input.Link] == at[i] }
		for slot, alternatives := range record.Inputs {
			kept := slices.DeleteFunc(slices.Clone(alternatives), inCircle)
			if len(kept) > 0 {
				record.Inputs[slot] = kept
				cut += len(alternatives) - len(kept)
			}
		}
	}
	return cut
}

// connected numbers the nodes of a graph so that nodes that reach each other have the same number, and returns how many numbers
// there are.
func connected(links [][]int) (component []int, n int) {
	w := &pathWalker{links: links, component: make([]int, len(links)), index: make([]int, len(links)), low: make([]int, len(links))}
	for start := range links {
		if w.index[start] == 0 {
			w.walk(start)
		}
	}
	return w.component, w.n
}

// pathWalker is Tarjan's algorithm, with an explicit stack.
type pathWalker struct {
	links     [][]int
	component []int
	n         int   // components that are complete
	index     []int // in the order of arrival, from 1 on
	low       []int // the lowest index on the path that a node reaches
	path      []int // nodes of components that are not complete
	arrived   int
}

func (w *pathWalker) walk(start int) {
	type frame struct{ node, next int }
	w.arrive(start)
	stack := []frame{{node: start}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		i := top.node
		if top.next < len(w.links[i]) {
			to := w.links[i][top.next]
			top.next++
			if w.index[to] == 0 {
				w.arrive(to)
				stack = append(stack, frame{node: to})
			} else {
				w.low[i] = min(w.low[i], w.low[to])
			}
			continue
		}
		stack = stack[:len(stack)-1]
		if w.low[i] == w.index[i] {
			w.complete(i)
		}
		if len(stack) > 0 {
			below := stack[len(stack)-1].node
			w.low[below] = min(w.low[below], w.low[i])
		}
	}
}

func (w *pathWalker) arrive(i int) {
	w.arrived++
	w.index[i], w.low[i] = w.arrived, w.arrived
	w.path = append(w.path, i)
}

// complete makes a component of the path from node i on. Nodes that lead there later do not get a lower index from it.
func (w *pathWalker) complete(i int) {
	for last := -1; last != i; {
		last = w.path[len(w.path)-1]
		w.path = w.path[:len(w.path)-1]
		w.component[last], w.low[last] = w.n, len(w.links)+1
	}
	w.n++
}
