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

// readInput reads a file or standard input, up to the size of a plan.
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

// notThereOr returns a NotThereError if a file does not exist; any other error means that the file can't be what was asked for.
func notThereOr(err error, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &places.NotThereError{Path: name}
	}
	return &usageError{err}
}
