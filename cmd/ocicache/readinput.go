package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/migrate"
	"github.com/ocicache/ocicache/places"
)

// stdinName stands for standard input.
const stdinName = "-"

// readInput reads a file, or standard input, that may be as large as a plan.
func readInput(stdin io.Reader, name string) ([]byte, error) {
	if name == stdinName {
		raw, err := io.ReadAll(io.LimitReader(stdin, migrate.MaxPlan+1))
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return raw, nil
	}
	raw, err := durable.ReadRegular(name, migrate.MaxPlan+1)
	if err != nil {
		return nil, notThereOr(err, name)
	}
	return raw, nil
}

// notThereOr says that a file is not there, where that is what went wrong; else it is one that can't be what was asked for.
func notThereOr(err error, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &places.NotThereError{Path: name}
	}
	return &usageError{err}
}
