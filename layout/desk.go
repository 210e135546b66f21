package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// desk holds open the directories that one change of a layout writes to, so that nobody who may write to the layout can divert the
// change through symbolic links.
type desk struct {
	root, state *durable.Dir
	blobs       *durable.Dir // of one algorithm; nil if only names in root change
}

// openRoot opens the layout's directory for writing. Symbolic links in the path are followed, but must lead to what Open found.
func (d *Dir) openRoot(fsys durable.FS) (*durable.Dir, error) {
	root, err := fsys.OpenDir(d.path)
	if err != nil {
		return nil, err
	}
	info, err := root.File().Stat()
	if err == nil && !os.SameFile(info, d.info) {
		err = fmt.Errorf("%s: the layout was replaced by another directory meanwhile", d.path)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// openDesk opens the layout to change names in it.
func (d *Dir) openDesk(ctx context.Context) (*desk, error) {
	root, err := d.openRoot(durable.On(ctx))
	if err != nil {
		return nil, err
	}
	state, err := root.Make(stateName, dirMode)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &desk{root: root, state: state}, nil
}

// openStore opens the layout to store blobs of one algorithm. It fails with durable.ErrSymlink if blobs/ or the algorithm's directory
// is a symbolic link.
func (d *Dir) openStore(ctx context.Context, algorithm digest.Algorithm) (_ *desk, err error) {
	store, err := d.openDesk(ctx)
	if err != nil {
		return nil, err
	}
	blobs, err := store.root.Make(blobsName, dirMode)
	if err == nil {
		store.blobs, err = blobs.Make(algorithm.String(), dirMode)
		err = errors.Join(err, blobs.Close())
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// Close closes the directories.
func (d *desk) Close() error {
	err := errors.Join(d.state.Close(), d.root.Close())
	if d.blobs != nil {
		err = errors.Join(err, d.blobs.Close())
	}
	return err
}

// write returns a temporary file with data.
func (d *desk) write(data []byte) (*durable.File, error) {
	file, err := d.state.Create()
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(data); err != nil {
		return nil, errors.Join(err, file.Discard())
	}
	return file, nil
}

// prepareIndex returns a temporary file with the index, synced to disk: only the rename is left.
func (d *desk) prepareIndex(index *buildcache.Index, mode fs.FileMode) (*durable.File, error) {
	data, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	file, err := d.write(data)
	if err != nil {
		return nil, err
	}
	if err := file.Sync(mode); err != nil {
		return nil, errors.Join(err, file.Discard())
	}
	return file, nil
}
