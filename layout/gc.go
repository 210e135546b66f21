package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// DefaultGrace is the GCOptions.Grace to use when the user gives none.
const DefaultGrace = 24 * time.Hour

// GCOptions say what a garbage collection does. The zero value removes everything that isn't needed, however young.
type GCOptions struct {
	// Grace is the age below which everything stays. BuildKits before v0.34 take no lock, so what they are writing may not be named
	// yet. Age counts from the last change, including that of name or permissions.
	Grace time.Duration
	// Now is the time from which ages are counted; zero means the present.
	Now time.Time
	// DryRun removes nothing, and takes no lock, as readers do.
	DryRun bool
	// Planned are the tags that a dry run assumes to have moved before the garbage collection.
	Planned []Planned
}

// Planned is a tag that is to move to a root, which need not be there yet.
type Planned struct {
	Tagging
	Reaches []digest.Digest // what the root reaches, apart from itself
	Writes  [][]byte        // root and config, which are written unless they are there
}

// Amount is a number of files and their total size in bytes.
type Amount struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (a *Amount) add(bytes int64) {
	a.Files++
	a.Bytes += bytes
}

// GCResult says what a garbage collection did, or would do.
type GCResult struct {
	Blobs     []digest.Digest `json:"blobs"`     // removed
	Removed   Amount          `json:"removed"`   // of blobs
	Leftovers Amount          `json:"leftovers"` // removed: left by interrupted writers; includes what Lock removed before
	Kept      Amount          `json:"kept"`      // blobs that an entry reaches
	// Unnamed are whole caches that no entry leads to. They are removed with everything that nothing else needs.
	Unnamed []UnnamedCache `json:"unnamed,omitempty"`
	// Young is unreached but too young to remove, or mentioned by something young and so perhaps named soon: blobs, files in ingest/.
	Young Amount `json:"young"`
	// Writing is a name in ingest/ that was written to so recently that an export without a lock may be going on, "" for none. Then all
	// blobs stay, and unreached ones count as young.
	Writing string `json:"writing,omitempty"`
	// Strange are names under blobs/ that aren't blobs, and under ingest/ that don't come from exports, relative to the layout. They
	// are left alone.
	Strange []string `json:"strange,omitempty"`
	DryRun  bool     `json:"dryRun,omitempty"`
}

// IncompleteError says that it can't be known what a layout needs, or that some of that is missing. Then nothing more is removed:
// what nothing reaches may be what is missing.
type IncompleteError struct {
	Path    string
	Missing []*BlobError // at least one; Digest is "" for index.json
	// Lost says that nothing tells what the blobs are of: index.json is missing or has no list of entries, and there is no cache root.
	Lost bool
	// Removed is what was removed before somebody who takes no lock named what is missing. It is usually nothing.
	Removed Amount
}

func (e *IncompleteError) Error() string {
	first := e.Missing[0]
	if first.Digest == "" {
		return fmt.Sprintf("%s: can't tell what is needed: %v", first.Place, first.Err)
	}
	text := fmt.Sprintf("%s: blobs that its entries need are missing: %v", e.Path, first)
	if more := len(e.Missing) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// Unwrap returns what is missing.
func (e *IncompleteError) Unwrap() []error {
	errs := make([]error, len(e.Missing))
	for i, missing := range e.Missing {
		errs[i] = missing
	}
	return errs
}

// NamelessError says that index.json names nothing, or is missing, although there are caches in the layout: it was probably lost.
// Nothing was removed.
type NamelessError struct {
	Path   string
	Fault  IndexFault
	Caches []UnnamedCache // at least one, whole ones first
}

func (e *NamelessError) Error() string {
	if len(e.Caches) == 1 {
		return fmt.Sprintf("%s: %s, but there is a cache root: %s", e.Path, e.Fault, e.Caches[0].Digest)
	}
	return fmt.Sprintf("%s: %s, but there are %d cache roots, such as %s", e.Path, e.Fault, len(e.Caches), e.Caches[0].Digest)
}

// errNoIndex says that there is no index.json to tell what is needed.
var errNoIndex = errors.New(string(IndexMissing))

// GC removes the blobs that no entry of index.json reaches, through caches, images and nested indexes, and what interrupted writers
// left in ingest/ and .ocicache/. Media types don't decide what is needed: a blob stays if its digest occurs anywhere in index.json,
// or in a JSON object that stays. GC waits until nobody else writes, as BuildKit does before it deletes, and removes nothing through
// a symbolic link. If something that an entry reaches is missing or unreadable, it removes nothing and fails with an
// *IncompleteError. If nothing is named although a cache is there, it fails with a *NamelessError. The result says what was removed
// before a failure; it is nil if that is nothing.
func (d *Dir) GC(ctx context.Context, o GCOptions) (result *GCResult, err error) {
	root, err := d.openRoot(durable.On(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if !o.DryRun {
		lock, err := d.lock(ctx, root, cacheLockName, true)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	c := &collector{dir: d, root: root, o: o, now: o.Now, result: &GCResult{Blobs: []digest.Digest{}, DryRun: o.DryRun}}
	if c.now.IsZero() {
		c.now = time.Now()
	}
	defer func() { err = errors.Join(err, c.close()) }()
	err = c.collect(ctx)
	if err != nil && (o.DryRun || c.result.Removed.Files+c.result.Leftovers.Files == 0) {
		return nil, err
	}
	before := d.cleared.take()
	c.result.Leftovers.Files += before.Files
	c.result.Leftovers.Bytes += before.Bytes
	return c.result, err
}

// collector is one garbage collection.
type collector struct {
	dir    *Dir
	root   *durable.Dir
	o      GCOptions
	now    time.Time
	result *GCResult
	stores []*store
	noted  durable.Item             // index.json, before it was last read
	tries  int                      // how often it was found out what is needed
	coming map[digest.Digest][]byte // what a dry run assumes to be written before the garbage collection
}

// store is the directory of the blobs of one algorithm.
type store struct {
	algorithm digest.Algorithm
	dir       *durable.Dir
	blobs     map[digest.Digest]durable.Item
}

func (c *collector) close() error {
	var err error
	for _, s := range c.stores {
		err = errors.Join(err, s.dir.Close())
	}
	return err
}

// collect finds out what is needed, and removes the rest. If index.json changes meanwhile, it starts over with what is left.
func (c *collector) collect(ctx context.Context) error {
	if err := c.list(); err != nil {
		return err
	}
	c.addComing()
	if err := c.checkNames(ctx); err != nil {
		return err
	}
	if err := c.lookAtIngest(); err != nil {
		return err
	}
	strange := len(c.result.Strange)
	defer c.forgetKept()
	for c.tries < readTries {
		c.forgetKept()
		c.result.Kept, c.result.Young, c.result.Strange = Amount{}, Amount{}, c.result.Strange[:strange]
		reached, err := c.reachAll(ctx)
		if err == nil {
			err = c.sweepAll(ctx, reached)
		}
		if errors.Is(err, errIndexChanged) {
			continue
		}
		if err != nil {
			return c.withRemoved(err)
		}
		return c.clear(ctx)
	}
	return &LockedError{Path: filepath.Join(c.dir.path, indexName)}
}

// readTries is how often a garbage collection finds out what is needed, because index.json has changed meanwhile.
const readTries = 100

// withRemoved adds to an *IncompleteError what was removed before it: then what is missing was named only after that.
func (c *collector) withRemoved(err error) error {
	var incomplete *IncompleteError
	if errors.As(err, &incomplete) {
		incomplete.Removed = c.result.Removed
	}
	return err
}

// checkNames fails with a *NamelessError if nothing is named although a cache is there.
func (c *collector) checkNames(ctx context.Context) error {
	index, err := c.dir.Index(ctx)
	if err != nil || len(index.Entries) > 0 {
		return err
	}
	var blobs []buildcache.Descriptor
	for _, s := range c.stores {
		for blob, item := range s.blobs {
			if item.Type == 0 {
				blobs = append(blobs, buildcache.Descriptor{Digest: blob, Size: item.Size})
			}
		}
	}
	caches, err := c.dir.cachesAmong(ctx, blobs)
	if err != nil || len(caches) == 0 {
		return err
	}
	return &NamelessError{Path: c.dir.path, Fault: c.dir.emptiness(), Caches: caches}
}

// list opens the directories of blobs and lists what is in them.
func (c *collector) list() error {
	blobs, err := c.root.Open(blobsName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	items, err := blobs.List()
	for _, item := range items {
		algorithm := digest.Algorithm(item.Name)
		if algorithm != digest.SHA256 && algorithm != digest.SHA512 {
			c.result.Strange = append(c.result.Strange, blobsName+"/"+item.Name)
			continue
		}
		var dir *durable.Dir
		if dir, err = blobs.Open(item.Name); err != nil {
			break
		}
		s := &store{algorithm: algorithm, dir: dir, blobs: map[digest.Digest]durable.Item{}}
		c.stores = append(c.stores, s)
		if err = c.listStore(s); err != nil {
			break
		}
	}
	return errors.Join(err, blobs.Close())
}

// addComing adds, for a dry run, what would be written before it to the blobs that are there.
func (c *collector) addComing() {
	if !c.o.DryRun {
		return
	}
	c.coming = map[digest.Digest][]byte{}
	for _, s := range c.stores {
		for _, p := range c.o.Planned {
			for _, text := range p.Writes {
				blob := digest.FromBytes(text)
				if _, here := s.blobs[blob]; !here && s.algorithm == blob.Algorithm() {
					s.blobs[blob] = durable.Item{Name: blob.Encoded(), Size: int64(len(text)), Modified: c.now}
					c.coming[blob] = text
				}
			}
		}
	}
}

func (c *collector) listStore(s *store) error {
	items, err := s.dir.List()
	if err != nil {
		return err
	}
	for _, item := range items {
		blob := digest.NewDigestFromEncoded(s.algorithm, item.Name)
		if buildcache.CheckDigest(blob) != nil || item.Type == fs.ModeDir {
			c.result.Strange = append(c.result.Strange, strings.Join([]string{blobsName, s.algorithm.String(), item.Name}, "/"))
			continue
		}
		s.blobs[blob] = item
	}
	return nil
}
