package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/internal/volumes"
	"github.com/ocicache/ocicache/layout"
)

// receiptVersion is the only version of receipts so far.
const receiptVersion = 1

// ErrReceipt marks a file that is not a receipt, or a receipt that was changed.
var ErrReceipt = errors.New("bad receipt")

// Receipt lists blobs that a layout was seen to hold, with the right bytes. The next archive for the same place may leave
// them out.
type Receipt struct {
	// Blobs are sorted by digest.
	Blobs []Blob
}

// receiptFile is how a receipt is written. Its id is the digest of its bytes without the id.
type receiptFile struct {
	Version int           `json:"ocicacheReceipt"`
	ID      digest.Digest `json:"id,omitempty"`
	Blobs   []Blob        `json:"blobs"`
}

// NewReceipt lists everything that the tags of a layout reach. It reads everything except what result says was seen to be
// right in the same run. A tag whose blobs are not all there and right is left out completely, and noted.
func NewReceipt(ctx context.Context, dir *layout.Dir, result *UnpackResult, jobs int) (*Receipt, []string, error) {
	entries, err := dir.Entries(ctx)
	if err != nil {
		return nil, nil, err
	}
	p := &prover{dir: dir, jobs: jobsOf(jobs), right: map[digest.Digest]bool{}, roots: map[digest.Digest]error{}}
	if result != nil {
		for blob := range result.proved {
			p.right[blob] = true
		}
	}
	listed := map[digest.Digest]int64{}
	var notes []string
	for _, entry := range entries {
		err, known := p.roots[entry.Descriptor.Digest]
		if !known {
			var blobs []buildcache.Descriptor
			blobs, err = p.prove(ctx, entry.Descriptor)
			p.roots[entry.Descriptor.Digest] = err
			for _, b := range blobs {
				listed[b.Digest] = b.Size
			}
		}
		if err := context.Cause(ctx); err != nil {
			return nil, nil, err
		}
		if err != nil {
			notes = append(notes, fmt.Sprintf("not in the receipt because it can't be read completely: %s (%v)",
				cmp.Or(entry.Tag, entry.Descriptor.Digest.String()), err))
		}
	}
	r := &Receipt{Blobs: make([]Blob, 0, len(listed))}
	for blob, size := range listed {
		r.Blobs = append(r.Blobs, Blob{Digest: blob, Size: size})
	}
	slices.SortFunc(r.Blobs, compareBlobs)
	return r, notes, nil
}

func compareBlobs(a, b Blob) int { return cmp.Compare(a.Digest, b.Digest) }

// prover reads blobs of a layout, each once.
type prover struct {
	dir   *layout.Dir
	jobs  int
	roots map[digest.Digest]error // nil for those that are whole

	mu    sync.Mutex
	right map[digest.Digest]bool
}

// prove returns what a root reaches. It fails unless all of that is there and right.
func (p *prover) prove(ctx context.Context, root buildcache.Descriptor) ([]buildcache.Descriptor, error) {
	blobs, err := layout.Graph(ctx, p.dir, root)
	if err != nil {
		return nil, err
	}
	group, ctx := parallel.New(ctx, p.jobs)
	for _, blob := range blobs {
		group.Go(func() error { return p.read(ctx, blob) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return blobs, nil
}

func (p *prover) read(ctx context.Context, blob buildcache.Descriptor) error {
	p.mu.Lock()
	right := p.right[blob.Digest]
	p.mu.Unlock()
	has, err := p.dir.Has(ctx, blob)
	if err != nil {
		return err
	}
	if right && has {
		return nil
	}
	r, err := layout.OpenVerified(ctx, p.dir, blob)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return errors.Join(err, r.Close())
	}
	p.mu.Lock()
	p.right[blob.Digest] = true
	p.mu.Unlock()
	return r.Close()
}

// Marshal returns the receipt's bytes with its id, the same for the same blobs.
func (r *Receipt) Marshal() ([]byte, error) {
	file := receiptFile{Version: receiptVersion, Blobs: r.Blobs}
	if file.Blobs == nil {
		file.Blobs = []Blob{}
	}
	rest, err := json.Marshal(file)
	if err != nil {
		return nil, err
	}
	file.ID = digest.FromBytes(rest)
	return json.Marshal(file)
}

// ParseReceipt reads a receipt. It fails with ErrReceipt if that is not a receipt, or was changed since it was written.
func ParseReceipt(raw []byte) (*Receipt, error) {
	var file receiptFile
	if err := unmarshalBlobs(raw, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	if file.Version != receiptVersion {
		return nil, fmt.Errorf("%w: this version of ocicache does not know version %d", ErrReceipt, file.Version)
	}
	for i, blob := range file.Blobs {
		if err := checkBlob(blob); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
		}
		if i > 0 && compareBlobs(file.Blobs[i-1], blob) >= 0 {
			return nil, fmt.Errorf("%w: blob %s is out of order", ErrReceipt, blob.Digest)
		}
	}
	id := file.ID
	file.ID = ""
	if file.Blobs == nil {
		file.Blobs = []Blob{}
	}
	rest, err := json.Marshal(file)
	if err != nil {
		return nil, err
	}
	if digest.FromBytes(rest) != id {
		return nil, fmt.Errorf("%w: it was changed or cut off: its id does not match its content", ErrReceipt)
	}
	return &Receipt{Blobs: file.Blobs}, nil
}

// ReadReceipt reads the receipt in a file.
func ReadReceipt(path string) (*Receipt, error) {
	raw, err := durable.ReadRegular(path, MaxDescription+1)
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxDescription {
		return nil, &buildcache.SizeError{What: "receipt " + path, Size: int64(len(raw)), Limit: MaxDescription}
	}
	r, err := ParseReceipt(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// ReceiptTakenError says that a receipt can't have a name, because something else has it: a receipt replaces only another
// receipt.
type ReceiptTakenError struct {
	Path  string
	Names []string // what is in the way: the path itself, or volumes of an archive with this name
}

func (e *ReceiptTakenError) Error() string {
	return fmt.Sprintf("receipt %s: what exists there is not a receipt: %s", e.Path, strings.Join(e.Names, ", "))
}

// CheckReceipt checks whether a receipt for the directory dir, which need not exist, could be written to a path, and fails as
// WriteReceipt would. It also fails, with an *OccupiedError, if the path lies in dir, or is part of one of the sources. It
// writes nothing.
func CheckReceipt(ctx context.Context, path, dir string, sources ...layout.Source) error {
	path = filepath.Clean(path)
	resolved, err := durable.Resolve(path)
	switch {
	case layout.IsWithin(path, dir), err == nil && layout.IsWithin(resolved, dir): // even if dir is still to be made
		return &OccupiedError{File: path, Place: dir, Use: "is being unpacked to"}
	case err != nil:
		return err
	}
	for _, src := range sources {
		if err := checkOccupied(path, src, "is being unpacked"); err != nil {
			return err
		}
	}
	_, err = claimReceipt(ctx, path)
	return err
}

// claimReceipt makes sure that a path is free or has a receipt. It follows links.
func claimReceipt(ctx context.Context, path string) (*volumes.Target, error) {
	target, err := volumes.Claim(ctx, path, volumes.TargetOptions{Overwrite: true, FileAlone: true, Ours: isReceipt})
	var exists *ExistsError
	if errors.As(err, &exists) {
		return nil, &ReceiptTakenError{Path: path, Names: exists.Names}
	}
	return target, err
}

// isReceipt reports whether a file is a whole receipt.
func isReceipt(file io.Reader) bool {
	raw, err := io.ReadAll(io.LimitReader(file, MaxDescription+1))
	if err != nil || len(raw) > MaxDescription {
		return false
	}
	_, err = ParseReceipt(raw)
	return err == nil
}

// WriteReceipt writes the receipt to a file, as a whole or not at all. The name must be free or that of an older receipt, else
// it fails with a *ReceiptTakenError; a symbolic link is followed. Meanwhile there is a work directory next to the file, as
// for archives.
func WriteReceipt(ctx context.Context, path string, r *Receipt, options layout.Options) error {
	err := writeReceipt(ctx, path, r, options)
	if err != nil {
		return fmt.Errorf("write receipt %s: %w", path, err)
	}
	return nil
}

func writeReceipt(ctx context.Context, path string, r *Receipt, options layout.Options) (err error) {
	data, err := r.Marshal()
	if err != nil {
		return err
	}
	resolved, err := durable.Resolve(filepath.Clean(path))
	if err != nil {
		return err
	}
	work, err := openWork(ctx, resolved, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, work.close()) }()
	target, err := claimReceipt(ctx, path)
	if err != nil {
		return err
	}
	file, err := volumes.Create(work.dir, target, nil, durable.On(ctx))
	if err != nil {
		return err
	}
	if _, err := file.Write(append(data, '\n')); err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Commit(ctx)
}

// workSuffix ends the name of a work directory: .NAME.ocicache for the file NAME.
const workSuffix = ".ocicache"
