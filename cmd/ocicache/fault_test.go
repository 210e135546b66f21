package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/internal/registrytest"
)

// faultsVariable makes TestFaults let every operation go wrong (all), or every n-th (n), instead of a few.
const faultsVariable = "OCICACHE_TEST_FAULTS"

// faultStep returns the step from one operation that goes wrong to the next, 0 for a few that are chosen.
func faultStep(t *testing.T) int {
	t.Helper()
	switch text := os.Getenv(faultsVariable); text {
	case "":
		return 0
	case "all":
		return 1
	default:
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s: %q is not all, and no number of operations", faultsVariable, text)
		}
		return n
	}
}

// faultLoop is what all trials share.
type faultLoop struct {
	step                     int // 0 for a few operations
	runs, verified, possible atomic.Int64

	mu        sync.Mutex
	counts    map[string]int // of faults that happened, by operation
	kinds     map[string]int // and by kind
	tolerated int            // of them, those that a command could do without
}

func newFaultLoop(t *testing.T) *faultLoop {
	t.Helper()
	return &faultLoop{step: faultStep(t), counts: map[string]int{}, kinds: map[string]int{}}
}

// TestFaults lets one operation after the other of every command that writes go wrong, in every way. Whatever it was: what
// there is afterwards is what was there before or what there was to be, verify finds nothing wrong with it, no temporary
// file is left, the message names what failed, and the same command succeeds when it is run again.
func TestFaults(t *testing.T) {
	t.Parallel()
	loop := newFaultLoop(t)
	t.Run("commands", func(t *testing.T) {
		for at, command := range faultCommands {
			t.Run(command.name, func(t *testing.T) {
				t.Parallel()
				newFaultCase(t, loop, command, at).run(t)
			})
		}
	})
	for _, op := range append(slices.Clone(placeOps), opRead, "open", "read", "mkdir", "create", "write", "sync", "close", "rename", "link", "remove", "syncdir", "request") {
		if loop.counts[op] == 0 {
			t.Errorf("no %s ever failed", op)
		}
	}
	for _, kind := range faultKinds {
		if loop.kinds[kind.name] == 0 {
			t.Errorf("there never was %s", kind.name)
		}
	}
	loop.report(t)
}

func (l *faultLoop) report(t *testing.T) {
	t.Helper()
	total := 0
	var each []string
	for _, op := range slices.Sorted(maps.Keys(l.counts)) {
		total += l.counts[op]
		each = append(each, fmt.Sprintf("%s %d", op, l.counts[op]))
	}
	t.Logf("faults: %d of %d injected and survived, of %d kinds, in %d runs of %d commands; %d times verify found nothing; "+
		"%d of the faults a command could do without (%s)",
		total, l.possible.Load(), len(faultKinds), l.runs.Load(), len(faultCommands), l.verified.Load(), l.tolerated, strings.Join(each, ", "))
}

// faultCase is a command with what was and what is to be.
type faultCase struct {
	faultCommand
	loop       *faultLoop
	at         int
	template   string // a directory that trials copy
	where      string // the directory that trials are in
	registry   *registrytest.Server
	trials     int
	there      map[seam][]string // the operations of the command, in their order
	old, whole state
}

func newFaultCase(t *testing.T, loop *faultLoop, command faultCommand, at int) *faultCase {
	t.Helper()
	c := &faultCase{faultCommand: command, loop: loop, at: at, template: t.TempDir(), where: t.TempDir()}
	if c.usesRegistry() {
		c.registry = registrytest.New(t, registrytest.Options{TakesLists: true})
	}
	c.setUp(t, trial{dir: c.template})
	tr := c.trial(t)
	c.old = stateOf(t, tr, "before", c.crashed)
	noted := &injector{there: map[seam][]string{}}
	forget := c.requests()
	if got := tr.do(durable.WithFault(t.Context(), noted.file), noted.opens, c.line); got.status != exitDone {
		t.Fatalf("status %d, %s", got.status, got.stderr)
	}
	c.there = noted.there
	c.there[requests] = forget()
	c.whole = stateOf(t, tr, "without a fault", "")
	c.verify(t, tr, "without a fault", c.whole)
	if maps.Equal(c.old, c.whole) {
		t.Fatal("the command changes nothing")
	}
	return c
}

// trial makes a directory with what there is before, and a repository.
func (c *faultCase) trial(t *testing.T) trial {
	t.Helper()
	c.trials++
	tr := trial{dir: filepath.Join(c.where, strconv.Itoa(c.trials)), registry: c.registry}
	if err := os.CopyFS(tr.dir, os.DirFS(c.template)); err != nil {
		t.Fatal(err)
	}
	if c.registry == nil {
		return tr
	}
	tr.repo = fmt.Sprintf("%s/trial%d", c.registry.Host, c.trials)
	for _, line := range c.before {
		if strings.Contains(line, "$REPO") {
			tr.prepare(t, line)
		}
	}
	return tr
}

// run tries all kinds of faults, each with the first operation, the second and so on until the command succeeds.
func (c *faultCase) run(t *testing.T) {
	for i, kind := range faultKinds {
		if kind.seam == requests && c.registry == nil || kind.seam == ofPlaces && c.unopened {
			continue
		}
		if c.loop.step == 0 && i > 0 && (c.at/2+i)%3 >= quicktest.Rounds(1, 3) { // I/O errors, and of the others some with each command
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			if c.registry != nil { // each trial leaves blobs in its memory
				c.registry = registrytest.New(t, registrytest.Options{TakesLists: true})
			}
			hits, salt := 0, c.at+i
			if c.loop.step > 0 {
				hits = c.every(t, kind, salt)
			} else {
				hits = c.some(t, kind, salt)
			}
			if (hits > 0) == slices.Contains(c.lacks, kind.name) && !t.Failed() {
				t.Errorf("it happened %d times", hits)
			}
		})
	}
}

// every lets every operation go wrong, or every n-th, others with each command, until there are no more and the command
// succeeds. It returns how many did.
func (c *faultCase) every(t *testing.T, kind faultKind, salt int) (hits int) {
	_, last := c.sample(kind, salt)
	c.loop.possible.Add(int64(last))
	first := 1
	if last > c.loop.step {
		first += salt % c.loop.step
	}
	for n := first; !t.Failed(); n += c.loop.step {
		in := c.try(t, kind, "", n)
		if in.fired {
			hits++
		}
		if !in.reached {
			break
		}
	}
	return hits + c.lastOf(t, kind, last, hits)
}

// some lets some of the operations go wrong, others with each command.
func (c *faultCase) some(t *testing.T, kind faultKind, salt int) (hits int) {
	chosen, last := c.sample(kind, salt)
	c.loop.possible.Add(int64(last))
	for op, numbers := range chosen {
		for _, n := range numbers {
			if c.try(t, kind, op, n).fired {
				hits++
			}
		}
	}
	return hits + c.lastOf(t, kind, last, hits)
}

// lastOf goes back from the last operation until one goes wrong, where none did: what was to be read may have been enough
// without.
func (c *faultCase) lastOf(t *testing.T, kind faultKind, last, hits int) int {
	t.Helper()
	for n := last; hits == 0 && n > 0 && !t.Failed(); n-- {
		if c.try(t, kind, "", n).fired {
			return 1
		}
	}
	return 0
}

// sample chooses operations: of each of some kinds the first, one in the middle or the last; of those that are rare all;
// and the rename that comes last, by which a tag moves. It returns which of each operation, and how many there are.
func (c *faultCase) sample(kind faultKind, salt int) (chosen map[string][]int, last int) {
	of := map[string]int{}
	for _, op := range c.there[kind.seam] {
		if kind.happensTo(op) {
			last++
			of[op]++
		}
	}
	chosen = map[string][]int{}
	for i, op := range slices.Sorted(maps.Keys(of)) {
		switch all := of[op]; {
		case kind.ops == nil && !kind.stall && (op == string(durable.OpLink) || op == string(durable.OpRemove)):
			for n := range all {
				chosen[op] = append(chosen[op], n+1)
			}
		case kind.ops == nil && !kind.stall && op == string(durable.OpRename):
			chosen[op] = []int{all}
		case (i+salt)%4 == 0 || len(of) < 4:
			chosen[op] = []int{1 + (all-1)*(salt%3)/2}
		}
	}
	return chosen, last
}

// try runs the command once with a fault, at the n-th of one operation or of all, looks at what there is, and runs it again
// without.
func (c *faultCase) try(t *testing.T, kind faultKind, of string, n int) *injector {
	t.Helper()
	tr := c.trial(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	in := &injector{kind: kind, of: of, n: n, interrupt: interrupt}
	healed := c.inject(in)
	got := tr.do(durable.WithFault(ctx, in.file), in.opens, c.line)
	healed()
	c.loop.note(in, got)
	may := c.crashed
	switch {
	case got.status == exitDone:
		may = ""
	case in.op == string(durable.OpRemove) && in.fired:
		may = anyTemporary // it could not be removed; the next run does it
	}
	now := stateOf(t, tr, in.String(), may)
	c.judge(t, tr, in, got, now)
	if !c.mends || got.status == exitDone {
		c.verify(t, tr, in.String(), now)
	}
	if got.status != exitDone {
		c.again(t, tr, in.String())
	}
	if err := os.RemoveAll(tr.dir); err != nil {
		t.Fatal(err)
	}
	return in
}

// inject lets the n-th request go wrong, if that is the kind of fault, and returns how to end that.
func (c *faultCase) inject(in *injector) (healed func()) {
	if in.kind.seam != requests {
		return func() {}
	}
	fault := in.kind.request
	fault.Skip = in.n - 1
	injected := c.registry.Inject(fault)
	asked := c.requests()
	return func() {
		in.reached = len(asked()) >= in.n
		in.fired, in.op, in.what = injected.Fired() > 0, opRequest, c.registry.Host
		c.registry.Heal()
	}
}

// requests returns a function that returns an operation for each request that came since.
func (c *faultCase) requests() func() []string {
	if c.registry == nil {
		return func() []string { return nil }
	}
	c.registry.Forget()
	return func() []string { return slices.Repeat([]string{opRequest}, len(c.registry.Requests())) }
}

// note counts what happened.
func (l *faultLoop) note(in *injector, got done) {
	l.runs.Add(1)
	if !in.fired {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[in.op]++
	l.kinds[in.kind.name]++
	if got.status == exitDone && !in.kind.stall {
		l.tolerated++
	}
}

// judge holds what the program said against what it left.
func (c *faultCase) judge(t *testing.T, tr trial, in *injector, got done, now state) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s\n\tstatus %d, %s", in, fmt.Sprintf(format, args...), got.status, got.stderr)
	}
	if strings.Contains(got.stdout, "note: not in the receipt") { // which then lists less, and says so
		now["receipt"] = c.whole["receipt"]
	}
	if !now.isBetween(c.old, c.whole, c.parts) {
		fail("neither as it was nor as it is to be:\n\t%s\n  or\n\t%s", now.diff(c.old), now.diff(c.whole))
	}
	if !in.fired && got.status != exitDone {
		fail("it failed without a fault")
		return
	}
	if !in.fired || got.status == exitDone {
		// Without the journal only time is lost, and that is said.
		forgot := in.atJournal() && strings.Contains(got.stdout, "journal")
		if in.fired && !in.kind.mayPass(in.op) && !forgot && !in.atWork() {
			fail("it succeeded")
		}
		if !maps.Equal(now, c.whole) {
			fail("it succeeded, and this is not what there was to be:\n\t%s", now.diff(c.whole))
		}
		return
	}
	if c.mends && got.status == exitFound && in.kind.short {
		return // it takes that for damage, and leaves it
	}
	if !slices.Contains(in.kind.statuses(), got.status) && (!c.missing || got.status != exitNotFound) {
		fail("the status should be one of %v", in.kind.statuses())
	}
	if got.stdout != "" && !c.parts {
		fail("a failure wrote a result: %s", got.stdout)
	}
	if strings.Count(got.stderr, "ocicache: error: ") != 1 {
		fail("not one error")
	}
	said := withoutWork(got.stderr)
	if c.parts { // the result tells of each part
		said += withoutWork(got.stdout)
	}
	for _, word := range in.names(tr) {
		if !strings.Contains(said, word) && (word != tr.owner(in.what) || !in.namesAnother(tr, said)) {
			fail("it does not say %q", word)
		}
	}
	for key := range keys(now, c.old) {
		if now[key] != c.old[key] && saysUntouched(got.stderr, key) {
			fail("something was done:\n\t%s", now.diff(c.old))
		}
	}
}

// saysUntouched reports whether a message says of a part of a state that nothing was done to it: of all, or, where it is about
// caches that don't fit, of those that it names.
func saysUntouched(said, key string) bool {
	if !strings.Contains(said, "nothing was written of the cache") {
		return strings.Contains(said, "nothing was ")
	}
	_, tag, _ := strings.Cut(key, " tag ")
	return strings.Contains(said, fmt.Sprintf("tag %q: ", tag))
}

// mayPass reports whether a command can succeed though an operation went wrong.
func (k faultKind) mayPass(op string) bool {
	return k.stall || k.seam == requests || slices.Contains(readOps, op)
}

// atJournal reports whether a journal was what could not be written. If the command fails all the same, it is at what came
// then.
func (i *injector) atJournal() bool {
	return i.kind.seam == files && strings.HasSuffix(i.what, ".ocicache/journal")
}

// atWork reports whether a work directory was what could not be opened or synced: when all that was in it is removed, that is no
// reason to fail.
func (i *injector) atWork() bool {
	return i.kind.seam == files && withoutWork(i.what) != i.what && (i.op == string(durable.OpSyncDir) || i.op == string(durable.OpClose))
}

// statuses are those that a failure can have.
func (k faultKind) statuses() []int {
	switch {
	case k.stall:
		return []int{exitInterrupted}
	case k.seam == requests:
		return []int{exitFailed, exitRefused}
	}
	return []int{exitFailed}
}

// names are the words that a message has to have: what went wrong, and where.
func (i *injector) names(tr trial) []string {
	switch {
	case i.kind.stall:
		return []string{"interrupted"}
	case i.kind.seam == requests:
		return []string{i.what}
	case i.kind.short:
		return []string{i.blob}
	}
	var number syscall.Errno
	errors.As(i.kind.err, &number)
	words := []string{number.Error()}
	switch {
	case i.atJournal():
		return words
	case i.kind.seam == files:
		return append(words, tr.owner(i.what))
	case i.blob != "":
		return append(words, i.blob)
	}
	return append(words, i.what)
}

// namesAnother reports whether a message names what failed after the first: a disk is full for all that work side by side.
func (i *injector) namesAnother(tr trial, said string) bool {
	return slices.ContainsFunc(i.later, func(what string) bool { return strings.Contains(said, tr.owner(what)) })
}

// owner returns what of the command line a path belongs to.
func (tr trial) owner(path string) string {
	rel, err := filepath.Rel(tr.dir, path)
	if err != nil || rel == "." || strings.HasPrefix(rel, "..") {
		return path
	}
	name, _, _ := strings.Cut(withoutWork(rel), "/")
	return filepath.Join(tr.dir, name)
}

var workDirs = regexp.MustCompile(`(^|/)\.([^/]+)\.ocicache(/|$|:)`)

// withoutWork returns a text with each work directory called by the file that it is for, whose name it has.
func withoutWork(text string) string { return workDirs.ReplaceAllString(text, "$1$2$3") }

// verify runs the command of that name on all layouts and the repository.
func (c *faultCase) verify(t *testing.T, tr trial, what string, now state) {
	t.Helper()
	lines := []string{}
	for _, dir := range now.layouts() {
		if c.touches(dir) {
			lines = append(lines, "verify $DIR/"+dir)
		}
	}
	for key := range now {
		if tag, ok := strings.CutPrefix(key, "repository tag "); ok {
			lines = append(lines, "verify $REPO:"+tag)
		}
	}
	for _, line := range lines {
		c.loop.verified.Add(1)
		if got := tr.do(t.Context(), nil, line); got.status != exitDone {
			t.Errorf("%s: %s: status %d, %s%s", what, line, got.status, got.stdout, got.stderr)
		}
	}
}

// touches reports whether a layout is one that the command changes. All others are compared with what they were.
func (c *faultCase) touches(dir string) bool {
	for key := range keys(c.old, c.whole) {
		if strings.HasPrefix(key, dir+"/ tag ") && c.old[key] != c.whole[key] {
			return true
		}
	}
	return false
}

// again runs the command without a fault.
func (c *faultCase) again(t *testing.T, tr trial, what string) {
	t.Helper()
	what += ", run again"
	if got := tr.do(t.Context(), nil, c.line); got.status != exitDone {
		t.Errorf("%s: status %d, %s", what, got.status, got.stderr)
	}
	now := stateOf(t, tr, what, "")
	if !maps.Equal(now, c.whole) {
		t.Errorf("%s: this is not what there was to be:\n\t%s", what, now.diff(c.whole))
	}
	if c.loop.step == 1 || c.trials%3 == 0 { // all bytes and all roots were compared already
		c.verify(t, tr, what, now)
	}
}
