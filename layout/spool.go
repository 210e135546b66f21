package layout

import (
	"context"
	"errors"
	"io"

	"github.com/ocicache/ocicache/internal/durable"
)

// Spool copies everything from r to a temporary file that can be read at any offset. The file has no name, so it goes away
// with the section, or with the process.
func Spool(ctx context.Context, r io.Reader) (*Section, error) {
	file, err := durable.On(ctx).CreateUnnamed()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(file, r)
	if err != nil {
		return nil, errors.Join(err, file.File().Close())
	}
	return &Section{io.NewSectionReader(file.File(), 0, n), file.File()}, nil
}
