package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// ErrIndexReadable says that nothing is wrong with an index.json that was to be restored.
var ErrIndexReadable = errors.New("index.json can be read")

// ErrIndexChanged says that index.json has changed since its replacement was determined.
var ErrIndexChanged = errors.New("index.json was changed meanwhile")

// asideName is where the bytes of an unreadable index.json are kept.
const asideName = indexName + ".before-repair"

// Salvaged is what could be saved of an index.json.
type Salvaged struct {
	Index *buildcache.Index // the entries that are intact, or could be corrected
	// Torn is what can be read of entries that aren't intact, or that follow those: a digest, and usually a tag. It is a guess, and
	// what it names may not exist.
	Torn []buildcache.Descriptor
	// Changed says what was corrected or left out.
	Changed []string
	// Aside is the name under which RestoreIndex keeps the current bytes, "" if nothing is wrong with them.
	Aside string
	// Fault says what is wrong with the file: it can't be read, is missing, or names nothing.
	Fault IndexFault

	raw []byte // nil if the file is missing
}

// IndexFault is what can be wrong with an index.json.
type IndexFault string

// The faults.
const (
	IndexUnreadable IndexFault = "index.json can't be read"
	IndexMissing    IndexFault = "index.json is missing"
	IndexNameless   IndexFault = "index.json has no entries"
)

// SalvageIndex returns what can be read of an index.json that is damaged, names nothing, or is missing. It fails with
// ErrIndexReadable if the file names something and nothing is wrong with it.
func (d *Dir) SalvageIndex(ctx context.Context) (*Salvaged, error) {
	index, err := d.Index(ctx)
	var damaged *IndexError
	if err != nil && !errors.As(err, &damaged) {
		return nil, err
	}
	if d.assumed != nil {
		return salvageNameless(index, nil, IndexNameless)
	}
	raw, _, readErr := readIndex(durable.On(ctx).OpenRegular(filepath.Join(d.path, indexName)))
	if readErr != nil {
		return nil, readErr
	}
	now, parseErr := parseIndex(raw)
	switch {
	case err == nil && parseErr != nil: // somebody has just begun to write it
		return nil, ErrIndexChanged
	case parseErr == nil && !hidesEntries(raw, now) && raw == nil:
		return salvageNameless(now, nil, IndexMissing)
	case parseErr == nil && !hidesEntries(raw, now):
		return salvageNameless(now, raw, IndexNameless)
	}
	salvaged, err := salvage(raw)
	if err != nil {
		return nil, &IndexError{Path: filepath.Join(d.path, indexName), Err: err}
	}
	for i, entry := range salvaged.Index.Entries {
		if entry.Size <= 0 { // no size could be read
			salvaged.Index.Entries[i] = d.entry("", entry).Descriptor
		}
	}
	salvaged.Aside, err = d.asideName(ctx, raw)
	return salvaged, err
}

// salvageNameless returns a readable index that names nothing. It fails with ErrIndexReadable if it does name something.
func salvageNameless(index *buildcache.Index, raw []byte, fault IndexFault) (*Salvaged, error) {
	if len(index.Entries) > 0 {
		return nil, ErrIndexReadable
	}
	return &Salvaged{Index: index, Fault: fault, raw: raw}, nil
}

// hidesEntries reports whether an index.json has several lists of entries, of which readers see only the last.
func hidesEntries(raw []byte, index *buildcache.Index) bool {
	if index.CheckList() == nil {
		return false
	}
	all, _, _ := buildcache.SalvageIndex(raw)
	return len(all.Entries) > len(index.Entries)
}

// emptiness says why there are no entries.
func (d *Dir) emptiness() IndexFault {
	if _, err := os.Stat(filepath.Join(d.path, indexName)); errors.Is(err, fs.ErrNotExist) && d.assumed == nil {
		return IndexMissing
	}
	return IndexNameless
}

// asideName returns the name under which the bytes of an index.json will be kept, or already are.
func (d *Dir) asideName(ctx context.Context, raw []byte) (name string, err error) {
	root, err := d.openRoot(durable.On(ctx))
	if err != nil {
		return "", err
	}
	name, _, err = findAside(root, raw)
	return name, errors.Join(err, root.Close())
}

// findAside returns a free name, or one that already has these bytes.
func findAside(root *durable.Dir, raw []byte) (name string, there bool, err error) {
	const most = 100
	name = asideName
	for n := 2; n <= most; n++ {
		if _, err := root.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return name, false, nil
		} else if err != nil {
			return "", false, err
		}
		if old, _, err := readIndex(root.OpenRegular(name)); err == nil && bytes.Equal(old, raw) {
			return name, true, nil
		}
		name = fmt.Sprintf("%s.%d", asideName, n)
	}
	return "", false, fmt.Errorf("%s: all names from %s to %s are taken", root, asideName, name)
}

// putAside keeps the bytes of an index.json beside it before they are replaced.
func (k *desk) putAside(raw []byte, mode fs.FileMode) error {
	name, there, err := findAside(k.root, raw)
	if err != nil || there {
		return errors.Join(err, k.root.Sync()) // whoever put it there may not have synced
	}
	file, err := k.write(raw)
	if err != nil {
		return err
	}
	if err = file.Sync(mode); err == nil {
		err = file.RenameIn(k.root, name)
	}
	if err = errors.Join(err, file.Discard()); err != nil {
		return err
	}
	return k.root.Sync()
}

// RestoreIndex replaces an index.json that can't be read or names nothing with index, in one step, and keeps the bytes of an
// unreadable one under the name Salvaged.Aside. It fails with ErrIndexChanged if the file is no longer what was salvaged.
func (d *Dir) RestoreIndex(ctx context.Context, salvaged *Salvaged, index *buildcache.Index) (err error) {
	if d.assumed != nil {
		return d.assumed.change(func(now *buildcache.Index) error { *now = *index.Clone(); return nil })
	}
	path := filepath.Join(d.path, indexName)
	if err := checkWritten(index); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := d.syncAllNames(ctx); err != nil {
		return err
	}
	desk, err := d.openDesk(ctx)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, desk.Close()) }()
	before, mode, err := readIndex(desk.root.OpenRegular(indexName))
	if err != nil {
		return err
	}
	if !bytes.Equal(before, salvaged.raw) || (before == nil) != (salvaged.raw == nil) {
		return ErrIndexChanged
	}
	if salvaged.Fault == IndexUnreadable {
		if err := desk.putAside(before, mode); err != nil {
			return fmt.Errorf("back up %s: %w", path, err)
		}
	}
	return d.putIndex(ctx, desk, index, mode, before)
}

// putIndex replaces an index.json, whose bytes are before, with index.
func (d *Dir) putIndex(ctx context.Context, desk *desk, index *buildcache.Index, mode fs.FileMode, before []byte) (err error) {
	file, err := desk.prepareIndex(index, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(d.path, indexName), err)
	}
	defer func() { err = errors.Join(err, file.Discard()) }()
	done, err := d.swapIndex(ctx, desk.root, before, file)
	if err == nil && !done {
		err = ErrIndexChanged
	}
	if err != nil {
		return err
	}
	return desk.root.Sync()
}

// ReplaceIndex replaces one index with another, in one step. It fails with ErrIndexChanged if index.json differs from was.
func (d *Dir) ReplaceIndex(ctx context.Context, was, now *buildcache.Index) error {
	if same, err := saysTheSame(was, now); err != nil || same {
		return err
	}
	if err := d.syncAllNames(ctx); err != nil {
		return err
	}
	return d.changeIndex(ctx, func(index *buildcache.Index) error {
		if same, err := saysTheSame(index, was); err != nil {
			return err
		} else if !same {
			return ErrIndexChanged
		}
		*index = *now.Clone()
		return nil
	})
}

// syncAllNames calls syncNames for all algorithms.
func (d *Dir) syncAllNames(ctx context.Context) error {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		if err := d.syncNames(ctx, algorithm); err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
	}
	return nil
}

// DiscardDamaged removes a blob with the wrong bytes, so that nothing can use it. A blob with the right bytes stays. A blob also stays,
// and kept is true, if an entry reaches it, or may do so because a manifest can't be read.
func (d *Dir) DiscardDamaged(ctx context.Context, blob digest.Digest) (kept bool, err error) {
	if err := buildcache.CheckDigest(blob); err != nil {
		return false, d.blobError(buildcache.Descriptor{Digest: blob}, err)
	}
	reached, err := Reach(ctx, d)
	if cause := context.Cause(ctx); cause != nil {
		return false, cause
	}
	if err != nil || reached[blob] {
		return true, nil //nolint:nilerr // nobody can know who needs it
	}
	return false, d.discardDamaged(ctx, blob)
}

func (d *Dir) discardDamaged(ctx context.Context, blob digest.Digest) (err error) {
	of := buildcache.Descriptor{Digest: blob}
	store, err := d.openStore(ctx, blob.Algorithm())
	if err != nil {
		return d.blobError(of, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	file, size, err := store.blobs.OpenRegular(blob.Encoded())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return d.blobError(of, err)
	}
	of.Size = size
	err = errors.Join(checkFile(ctx, file, of), file.Close())
	if !isOthers(err) {
		return err
	}
	if err := store.blobs.Remove(blob.Encoded()); err != nil {
		return d.blobError(of, err)
	}
	return store.blobs.Sync()
}
