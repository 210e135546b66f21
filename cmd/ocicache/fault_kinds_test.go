package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/registrytest"
)

// faultKind is one way in which the n-th operation of a command goes wrong.
type faultKind struct {
	name string
	// seam is where: at the file system, at the interface of a place, or at the requests that a registry gets.
	seam seam
	ops  []string // that it happens to; nil for all
	err  error    // what they fail with; nil for a stall, and where there is no error on this side
	// how it goes wrong, beside an error.
	onward bool // all from the n-th on fail
	late   bool // the operation is done, and fails then
	short  bool // a stream ends in its middle as if that were its end
	stall  bool // the operation takes so long that somebody interrupts the program, and then it is done
	// request is what happens to a request.
	request registrytest.Fault
}

type seam int

const (
	files seam = iota
	ofPlaces
	requests
)

// The operations of places. Those of the file system are durable's.
const (
	opEntries = "entries"
	opHas     = "has"
	opOpen    = "open blob"
	opRead    = "read blob" // counted when it is opened; it goes wrong in the middle
	opPut     = "put"
	opIngest  = "ingest"
	opTag     = "tag"
	opRequest = "request"
)

// placeOps are all of them that fail at once.
var placeOps = []string{opEntries, opHas, opOpen, opPut, opIngest, opTag}

// readOps are operations that only look. Where one fails, a command may do without what it wanted to see.
var readOps = []string{string(durable.OpOpen), string(durable.OpRead), opEntries, opHas, opOpen, opRead}

func ops(of ...durable.Op) []string {
	var names []string
	for _, op := range of {
		names = append(names, string(op))
	}
	return names
}

// diskFull names the kind that commands lack which write no files.
const diskFull = "a full disk"

// faultKinds are all the ways.
var faultKinds = []faultKind{
	{name: "an I/O error", seam: files, err: syscall.EIO},
	{
		name: diskFull, seam: files, err: syscall.ENOSPC, onward: true,
		ops: ops(durable.OpCreate, durable.OpWrite, durable.OpMakeDir, durable.OpLink),
	},
	{name: "a short write", seam: files, err: &durable.ShortWrite{Err: syscall.ENOSPC}, ops: ops(durable.OpWrite)},
	{
		name: "no permission", seam: files, err: syscall.EACCES,
		ops: ops(durable.OpOpen, durable.OpCreate, durable.OpMakeDir, durable.OpRename, durable.OpLink, durable.OpRemove),
	},
	{name: "a stall", seam: files, stall: true},
	{name: "a failing place", seam: ofPlaces, err: syscall.EIO, ops: placeOps},
	{name: "a failing place, when all is done", seam: ofPlaces, err: syscall.EIO, ops: []string{opPut, opIngest, opTag}, late: true},
	{name: "a read error", seam: ofPlaces, err: syscall.EIO, ops: []string{opRead}},
	{name: "a short read", seam: ofPlaces, short: true, ops: []string{opRead}},
	{name: "a stalled read", seam: ofPlaces, stall: true, ops: []string{opRead}},
	{name: "a refused request", seam: requests, request: registrytest.Fault{Status: http.StatusForbidden}},
	{name: "a server's error", seam: requests, request: registrytest.Fault{Status: http.StatusInternalServerError}},
	{name: "a broken connection", seam: requests, request: registrytest.Fault{Drop: true}},
	{name: "a cut transfer", seam: requests, request: registrytest.Fault{CutAt: 0.5}},
}

// injector lets the n-th operation go wrong. With n 0 it only notes which operations there are.
type injector struct {
	kind      faultKind
	of        string // the operation that is counted, "" for all that it can happen to
	n         int
	interrupt context.CancelFunc

	mu      sync.Mutex
	count   int
	reached bool     // there was an n-th operation
	fired   bool     // and it went wrong
	op      string   // which it was
	what    string   // what it was about: a path, or a place
	later   []string // what the ones after it were about that went wrong as well
	blob    string   // the digest of a blob, "" for none

	there map[seam][]string // the operations, in their order
}

func (i *injector) String() string {
	return fmt.Sprintf("%s at operation %d, %s %s %s", i.kind.name, i.n, i.op, i.what, i.blob)
}

// comes counts an operation, and reports whether it is one to go wrong.
func (i *injector) comes(at seam, op, what, blob string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.n == 0 {
		i.there[at] = append(i.there[at], op)
		return false
	}
	if i.kind.seam != at || !i.kind.happensTo(op) {
		return false
	}
	onward := i.kind.onward && i.reached
	if !onward && i.of != "" && i.of != op {
		return false
	}
	if i.count++; i.count != i.n && !onward {
		return false
	}
	if !i.reached {
		i.reached, i.op, i.what, i.blob = true, op, what, blob
	} else {
		i.later = append(i.later, what)
	}
	return true
}

// happensTo reports whether an operation can go wrong in this way.
func (k faultKind) happensTo(op string) bool { return k.ops == nil || slices.Contains(k.ops, op) }

// fire notes that the operation went wrong. In a stall it interrupts the program.
func (i *injector) fire() error {
	i.mu.Lock()
	i.fired = true
	i.mu.Unlock()
	if i.kind.stall {
		i.interrupt()
	}
	return i.kind.err
}

// file is the fault for durable.WithFault.
func (i *injector) file(op durable.Op, path string) error {
	if !i.comes(files, string(op), path, "") {
		return nil
	}
	err := i.fire()
	if err == nil {
		return nil
	}
	return asFileError(op, path, err)
}
