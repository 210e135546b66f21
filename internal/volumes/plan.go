package volumes

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// ErrSplit says that an archive can't be split as asked. Nothing was written.
var ErrSplit = errors.New("the archive can't be split so")

// Plan says how an archive is split.
type Plan struct {
	file string
	list *listing // without sums
}

// NewPlan splits an archive of total bytes, which is named file and identified by id, into volumes of size bytes, the last
// one with what is left, and adds parity recovery volumes. It fails with ErrSplit if that makes too many volumes or
// too small ones, or if volumes can't have such names.
func NewPlan(file string, total int64, id string, size int64, parity int) (*Plan, error) {
	list, err := planVolumes(filepath.Base(file), total, id, size, parity)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, ErrSplit, err)
	}
	return &Plan{file: file, list: list}, nil
}

func planVolumes(stem string, total int64, id string, size int64, parity int) (*listing, error) {
	if err := errors.Join(checkStem(stem), checkID(id)); err != nil {
		return nil, err
	}
	if total <= 0 || parity < 0 {
		return nil, fmt.Errorf("there can't be %d bytes, nor %d recovery volumes", total, parity)
	}
	if size < MinVolume {
		return nil, fmt.Errorf("a volume has %d bytes at least, not %d", MinVolume, size)
	}
	list := &listing{stem: stem, id: id, total: total, size: min(size, total)}
	if err := checkCounts(list.count(), parity); err != nil {
		return nil, err
	}
	list.recovery = make([]recoverySum, parity)
	return list, nil
}

// begin returns a list for the sums to be added to.
func (p *Plan) begin() *listing {
	list := *p.list
	list.recovery = slices.Clone(list.recovery)
	return &list
}

// Volumes returns how many volumes there will be, without recovery volumes.
func (p *Plan) Volumes() int { return int(p.list.count()) }

// Bytes returns the size of all files that there will be together. The length of lists and heads does not depend on the sums in them.
func (p *Plan) Bytes() int64 {
	list := p.begin()
	some := sumOf(nil)
	for range p.Volumes() {
		list.sums = append(list.sums, some)
	}
	for i := range list.recovery {
		list.recovery[i] = recoverySum{payload: some, file: some}
	}
	bytes := list.total + int64(len(list.marshal(false)))
	if parity := int64(len(list.recovery)); parity > 0 {
		bytes += parity * (int64(len(list.marshalHead(1))) + list.size)
	}
	return bytes
}

// Files returns the paths of all files that there will be: volumes, recovery volumes and the list, in this order.
func (p *Plan) Files() []string {
	var files []string
	for i := range p.Volumes() {
		files = append(files, p.list.volumeFile(p.file, i))
	}
	for i := range p.list.recovery {
		files = append(files, recoveryFile(p.file, i+1))
	}
	return append(files, p.file+listSuffix)
}
