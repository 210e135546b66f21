package archive

import (
	"context"

	"github.com/ocicache/ocicache/layout"
)

// The mark of a work directory.
const (
	MarkName = markName
	MarkText = markText
)

// NewStaging lets tests see a place over a source.
func NewStaging(src layout.Source, spool *layout.Dir) layout.Place { return newStaging(src, spool) }

// HoldWork takes the work directory of a file, or with "" one for a stream, as another process would.
func HoldWork(ctx context.Context, file string) (release func() error, err error) {
	var w *work
	if file == "" {
		w, err = openStreamWork(ctx, layout.Options{})
	} else {
		w, err = openFileWork(ctx, file, PackOptions{})
	}
	if err != nil {
		return nil, err
	}
	return w.close, nil
}
