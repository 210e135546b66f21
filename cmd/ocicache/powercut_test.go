package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/quicktest"
)

// powerCut is a command that the power fails under, or that is killed.
type powerCut struct {
	name string
	// prepare makes what is there before, in an empty directory.
	prepare func(t *testing.T, dir string)
	args    func(dir string) []string
	judge   judge
	again   int  // the status where it is run again, and had done its work; else it is exitDone
	alike   bool // another command writes in the same way, and this one is for all samples
}

// judge looks at what is left.
type judge interface {
	// look says what is wrong with it. It gets the files before and after the command, and whether that had ended, so that
	// all has to be there.
	look(left, before, after tree, done bool) error
	// use says what is wrong with it for commands that use it, among them the one of args.
	use(t *testing.T, dir string, args []string, before, after tree) error
}

// inProcess runs a command in this process, under a context.
func inProcess(ctx context.Context, args ...string) (status int, said string) {
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out}
	root := a.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return a.exit(ctx, errors.Join(err, a.close())), out.String()
}

func copyOf(name, as string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.CopyFS(filepath.Join(dir, as), os.DirFS(filepath.Join(corpus, name))); err != nil {
			t.Fatal(err)
		}
	}
}

// broken copies a cache, and breaks its index.json.
func broken(name, as string, how ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		copyOf(name, as)(t, dir)
		for _, how := range how {
			if err := breakIndex(filepath.Join(dir, as), how); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// lacking copies a cache but for a file.
func lacking(name, as, file string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		copyOf(name, as)(t, dir)
		if err := os.Remove(filepath.Join(dir, as, file)); err != nil {
			t.Fatal(err)
		}
	}
}

func packed(as string, args ...string) func(*testing.T, string) {
	return packedOf(filepath.Join(corpus, "docker-list-gzip"), as, args...)
}

func packedOf(cache, as string, args ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		args := append([]string{"pack", cache, filepath.Join(dir, as)}, args...)
		if status, said := inProcess(t.Context(), args...); status != exitDone {
			t.Fatal(said)
		}
	}
}

func nothing(*testing.T, string) {}

// in returns a command line of which {} is the directory.
func in(args ...string) func(string) []string {
	return func(dir string) []string {
		line := make([]string, len(args))
		for i, arg := range args {
			line[i] = strings.ReplaceAll(arg, "{}", dir)
		}
		return line
	}
}

var powerCuts = []powerCut{
	{name: "convert in place", prepare: copyOf("artifact-gzip", "cache"), args: in("convert", "{}/cache", "--to", "docker-list"), judge: layoutJudge("cache")},
	{name: "recompress in place", alike: true, prepare: copyOf("artifact-gzip", "cache"), args: in("convert", "{}/cache", "--compression", "zstd"), judge: layoutJudge("cache")},
	{name: "sync to a new layout", alike: true, prepare: nothing, args: in("sync", corpus+"/multi-tag", "{}/far", "--parallel", "1"), judge: layoutJudge("far")},
	{name: "sync to a layout", prepare: copyOf("artifact-gzip", "far"), args: in("sync", corpus+"/multi-tag", "{}/far", "--parallel", "1"), judge: layoutJudge("far")},
	{name: "repair index.json", prepare: broken("artifact-gzip", "cache", "doubled", "odd"), args: in("repair", "{}/cache", "--write"), judge: mendJudge{"cache"}},
	{
		name: "repair a layer", prepare: lacking(small, "cache", smallLayer), args: in("repair", "{}/cache", "--write"),
		judge: eitherJudge{mendJudge{"cache"}},
	},
	{name: "gc", prepare: copyOf("stale-blobs", "cache"), args: in("gc", "{}/cache", "--keep-since", "0s"), judge: eitherJudge{mendJudge{"cache"}}},
	{
		name: "prune and gc", prepare: copyOf("artifact-gzip", "cache"), judge: eitherJudge{mendJudge{"cache"}},
		args: in("prune", "{}/cache", "--leaves", "--gc", "--keep-since", "0s"),
	},
	{
		name: "rm", prepare: copyOf("multi-tag", "cache"), args: in("rm", "oci:{}/cache:v1"), judge: eitherJudge{mendJudge{"cache"}}, again: exitNotFound,
	},
	{name: "unpack", prepare: packed("in.tar"), args: in("unpack", "{}/in.tar", "{}/far"), judge: layoutJudge("far")},
	{name: "pack", prepare: nothing, args: in("pack", corpus+"/artifact-gzip", "{}/cache.tar"), judge: archiveJudge{}},
	{name: "pack, changed", alike: true, prepare: nothing, args: in("pack", corpus+"/artifact-gzip", "{}/cache.tar", "--compression", "zstd"), judge: archiveJudge{}},
	{name: "pack over a file", prepare: packed("cache.tar"), args: in("pack", corpus+"/artifact-gzip", "{}/cache.tar", "--overwrite"), judge: archiveJudge{}},
	{
		name: "pack in volumes", alike: true, prepare: nothing,
		args:  in("pack", corpus+"/artifact-gzip", "{}/cache.tar", "--volume-size", "60KB", "--parity", "1"),
		judge: archiveJudge{},
	},
	{
		name: "pack in volumes over volumes", prepare: packed("cache.tar", "--volume-size", "50KB", "--parity", "1"),
		args:  in("pack", corpus+"/artifact-gzip", "{}/cache.tar", "--overwrite", "--volume-size", "60KB", "--parity", "1"),
		judge: archiveJudge{},
	},
	{
		name: "pack over volumes", alike: true, prepare: packed("cache.tar", "--volume-size", "50KB", "--parity", "1"),
		args:  in("pack", corpus+"/artifact-gzip", "{}/cache.tar", "--overwrite"),
		judge: archiveJudge{},
	},
}

// drawn returns the commands that are not left to those who want all samples.
func drawn(all []powerCut) []powerCut {
	if os.Getenv(killsVariable) != "" || quicktest.Rounds(0, 1) == 1 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(p powerCut) bool { return p.alike })
}

// TestPowerCut has the power fail at every moment of a command, with the worst that a disk may make of it. What is left is
// the state before or the one after, and the command run again does what it should have done, and clears away the rest.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, p := range drawn(powerCuts) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			states, tried, moments := p.fail(t, true, func(durable.Op) bool { return false }, func(err error) bool {
				t.Error(err)
				return false
			})
			t.Logf("%d states of the disk at %d moments; %d of them tried", states, moments, tried)
			if moments < 6 || states < 8 || tried < 3 {
				t.Error("these are too few to prove anything")
			}
		})
	}
}

// TestPowerCutNeedsSyncs leaves out one kind of sync, which has to be found wanting: else TestPowerCut would prove nothing.
func TestPowerCutNeedsSyncs(t *testing.T) {
	t.Parallel()
	for i, p := range powerCuts {
		for j, without := range []durable.Op{durable.OpSync, durable.OpSyncDir} {
			if os.Getenv(killsVariable) == "" && i%4 != 2*j { // make kills leaves out both kinds of each command
				continue
			}
			t.Run(p.name+" without "+string(without), func(t *testing.T) {
				t.Parallel()
				var found error
				met := 0
				for _, try := range []bool{false, true} { // mostly a look is enough
					ignored := func(op durable.Op) bool {
						if op == without {
							met++
						}
						return op == without
					}
					p.fail(t, try, ignored, func(err error) bool {
						found = err
						return false
					})
					if found != nil {
						break
					}
				}
				switch needless := p.name == "gc" && without == durable.OpSync; { // it writes no file
				case needless && met > 0:
					t.Errorf("it made %d of them", met)
				case !needless && found == nil:
					t.Error("nothing is wrong without them")
				}
				t.Log(found)
			})
		}
	}
}

// fail runs the command and has the power fail all along. It tells wrong what is wrong, until that returns false. Every state
// is looked at. With try, the command is run again from every one where there is time for that, else from a few.
func (p *powerCut) fail(t *testing.T, try bool, ignored func(durable.Op) bool, wrong func(error) bool) (states, tried, moments int) {
	t.Helper()
	dir := t.TempDir()
	p.prepare(t, dir)
	before := readTree(t, dir)
	made := record(t, dir, func(fault func(durable.Op, string) error) {
		ctx := durable.WithFault(t.Context(), fault)
		if status, said := inProcess(ctx, append(p.args(dir), "--jobs", "1")...); status != exitDone {
			t.Fatal(said)
		}
	})
	after := readTree(t, dir)
	every := max(1, 64/kills(t, 2))
	afterPowerCuts(made, kills(t, 2), ignored, func(left tree, done bool) bool {
		states++
		err := p.judge.look(left, before, after, done)
		if err == nil && try && (states < 4 || states%every == 0) {
			if tried++; tried%4 != 0 { // readers wait a while where the lock was left, so that is for some
				maps.DeleteFunc(left, func(name, _ string) bool { return strings.HasSuffix(name, "/index.json.lock") })
			}
			err = p.tryLeft(t, left, before, after)
		}
		return err == nil || wrong(fmt.Errorf("%s was left: %w", left, err))
	})
	return states, tried, len(made.steps)
}

// tryLeft makes what is left, and tries it.
func (p *powerCut) tryLeft(t *testing.T, left, before, after tree) error {
	t.Helper()
	dir := t.TempDir()
	defer func() { _ = os.RemoveAll(dir) }()
	if err := left.write(dir); err != nil {
		return err
	}
	return p.try(t, dir, before, after)
}

// try uses what is left, and runs the command again.
func (p *powerCut) try(t *testing.T, dir string, before, after tree) error {
	t.Helper()
	if err := p.judge.use(t, dir, p.args(dir), before, after); err != nil {
		return err
	}
	now := readTree(t, dir)
	isThere := now.visible().differs(after.visible()) == ""
	isDone := now.withoutTemporary().differs(after) == ""
	status, said := inProcess(t.Context(), p.args(dir)...)
	isThere = isThere && status == exitFailed && strings.Contains(said, "already there")
	if status != exitDone && !isThere && (!isDone || status != p.again) {
		return fmt.Errorf("run again: %s", said)
	}
	now = readTree(t, dir)
	if isDone { // nothing is left to write, and only those who write clear away
		now = now.withoutTemporary()
	}
	if diff := now.differs(after); diff != "" {
		return fmt.Errorf("run again: %s", diff)
	}
	return nil
}

// readTree reads a directory, but for what is not the same each time: locks, and the journal.
func readTree(t *testing.T, dir string) tree {
	t.Helper()
	found := tree{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, dir+"/")
		switch {
		case err != nil || path == dir:
			return err
		case entry.IsDir():
			found[name+"/"] = ""
			return nil
		case strings.HasSuffix(name, ".lock"), strings.HasSuffix(name, ".ocicache/journal"):
			return nil
		}
		raw, err := os.ReadFile(path)
		found[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// differs says what is not as in want, "" for nothing.
func (t tree) differs(want tree) string {
	var diff []string
	for name := range t {
		if _, ok := want[name]; !ok {
			diff = append(diff, name+" is there as well")
		}
	}
	for name, raw := range want {
		got, ok := t[name]
		switch {
		case !ok:
			diff = append(diff, name+" is missing")
		case got != raw:
			diff = append(diff, fmt.Sprintf("%s has %d bytes, want %d others", name, len(got), len(raw)))
		}
	}
	slices.Sort(diff)
	return strings.Join(diff, ", ")
}

// String lists what is in the tree.
func (t tree) String() string {
	var files []string
	for _, path := range slices.Sorted(maps.Keys(t)) {
		files = append(files, fmt.Sprintf("%s (%d bytes)", path, len(t[path])))
	}
	return strings.Join(files, ", ")
}

// layoutJudge judges the layout of that name.
type layoutJudge string

func (j layoutJudge) look(left, before, after tree, done bool) error {
	if done {
		before = after
	}
	return left.judge(string(j), before, after)
}

func (j layoutJudge) use(t *testing.T, dir string, _ []string, _, _ tree) error {
	t.Helper()
	layout := filepath.Join(dir, string(j))
	tags, err := readTree(t, dir).tags(string(j))
	if err != nil || len(tags) == 0 {
		return err
	}
	if status, said := inProcess(t.Context(), "verify", layout); status != exitDone {
		return fmt.Errorf("verify: status %d: %s", status, said)
	}
	return nil
}

// mendJudge judges a layout that was broken: what is left of it need not be mended yet.
type mendJudge struct{ layoutJudge }

func (j mendJudge) use(t *testing.T, dir string, args []string, before, after tree) error {
	t.Helper()
	index := filepath.Join(string(j.layoutJudge), "index.json")
	if readTree(t, dir)[index] != after[index] {
		return nil
	}
	return j.layoutJudge.use(t, dir, args, before, after)
}

// eitherJudge judges a layout of which things go, or that was not whole before: all that is left was there before or is to be
// there, each tag names what it named or what it is to name, and of what was whole nothing is missing.
type eitherJudge struct{ mendJudge }

func (j eitherJudge) look(left, before, after tree, done bool) error {
	layout := string(j.layoutJudge)
	left = left.withoutTemporary()
	maps.DeleteFunc(left, func(name, _ string) bool { return strings.HasSuffix(name, ".lock") })
	if diff := left.differs(after); done && diff != "" {
		return fmt.Errorf("the command had ended: %s", diff)
	}
	for name, raw := range left {
		if raw != before[name] && raw != after[name] {
			return fmt.Errorf("%s has %d bytes, neither the old ones nor the new", name, len(raw))
		}
	}
	old, errOld := before.tags(layout)
	to, errTo := after.tags(layout)
	now, err := left.tags(layout)
	if err := errors.Join(errOld, errTo, err); err != nil {
		return err
	}
	for tag := range old {
		if root := now[tag]; root != old[tag] && root != to[tag] {
			return fmt.Errorf("the tag %s names %q, neither %q nor %q", tag, root, old[tag], to[tag])
		}
	}
	for tag, root := range now {
		if err := left.whole(layout, root); err != nil && before.whole(layout, old[tag]) == nil {
			return fmt.Errorf("the tag %s: %w", tag, err)
		}
	}
	return nil
}

// archiveJudge judges cache.tar, in one file or in volumes. Volumes may be in between: then the next run has to find its way
// back or forth before it does anything else, and until then nobody may take for whole what is not.
type archiveJudge struct{}

func (archiveJudge) look(left, before, after tree, done bool) error {
	left, before, after = left.visible(), before.visible(), after.visible()
	if done {
		before = after
	}
	if single, ok := left["cache.tar"]; ok && single != before["cache.tar"] && single != after["cache.tar"] {
		return fmt.Errorf("cache.tar has %d bytes, neither the old ones nor the new", len(single))
	}
	for name, raw := range left {
		if raw != before[name] && raw != after[name] {
			return fmt.Errorf("%s has %d bytes, neither the old ones nor the new", name, len(raw))
		}
	}
	if done {
		if diff := left.differs(after); diff != "" {
			return fmt.Errorf("the command had ended: %s", diff)
		}
	}
	return nil
}

func (archiveJudge) use(t *testing.T, dir string, args []string, before, after tree) error {
	t.Helper()
	file := filepath.Join(dir, "cache.tar")
	left, before, after := readTree(t, dir).visible(), before.visible(), after.visible()
	if status, said := inProcess(t.Context(), "verify", file); status == exitDone && !left.holds(before) && !left.holds(after) {
		return fmt.Errorf("verify takes for whole what is not: %s", said)
	}
	if _, ok := left["cache.tar"]; ok || left.differs(before) == "" || left.differs(after) == "" {
		return nil
	}
	// Without --overwrite it ends where the names are taken, but first it restores them.
	args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--overwrite" })
	status, said := inProcess(t.Context(), args...)
	left = readTree(t, dir).visible()
	isNew := left.differs(after) == "" && (status == exitDone || status == exitFailed)
	isOld := left.differs(before) == "" && status == exitFailed && len(before) > 0
	if !isNew && !isOld {
		return fmt.Errorf("not restored, status %d, %s: %s", status, left, said)
	}
	return nil
}

// visible returns the files but for those in a work directory.
func (t tree) visible() tree {
	left := tree{}
	for name, raw := range t {
		if !strings.HasPrefix(name, ".") {
			left[name] = raw
		}
	}
	return left
}

// withoutTemporary returns the files but for temporary ones.
func (t tree) withoutTemporary() tree {
	left := tree{}
	for name, raw := range t {
		if !strings.HasPrefix(filepath.Base(name), "tmp-") {
			left[name] = raw
		}
	}
	return left
}

// holds says that an archive is there, or so much of its volumes that the others can be rebuilt.
func (t tree) holds(want tree) bool {
	right, volumes := 0, 0
	for name, raw := range want {
		if strings.HasSuffix(name, ".SHA256SUMS") {
			continue
		}
		if !strings.Contains(name, ".parity.") {
			volumes++
		}
		if t[name] == raw {
			right++
		}
	}
	return volumes > 0 && right >= volumes
}

// TestPowerCutAfterFailure has a sync of blobs' names fail, the command run again, which finds the blobs there, and then the
// power fail: what the tag names has to be there all the same.
func TestPowerCutAfterFailure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	copyOf("artifact-gzip", "cache")(t, dir)
	before := readTree(t, dir)
	args := in("convert", "{}/cache", "--to", "docker-list")(dir)
	failed := 0
	made := record(t, dir, func(fault func(durable.Op, string) error) {
		failing := durable.WithFault(t.Context(), func(op durable.Op, path string) error {
			if op == durable.OpSyncDir && strings.HasSuffix(path, "/sha256") {
				failed++
				return syscall.EIO
			}
			return fault(op, path)
		})
		if status, said := inProcess(failing, args...); status != exitFailed || failed == 0 {
			t.Fatalf("status %d after %d failures: %s", status, failed, said)
		}
		if status, said := inProcess(durable.WithFault(t.Context(), fault), args...); status != exitDone {
			t.Fatal(said)
		}
	})
	after := readTree(t, dir)
	afterPowerCuts(made, kills(t, 2), func(durable.Op) bool { return false }, func(left tree, done bool) bool {
		if err := layoutJudge("cache").look(left, before, after, done); err != nil {
			t.Errorf("%s was left: %v", left, err)
		}
		return !t.Failed()
	})
}
