package durable_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ocicache/ocicache/internal/durable"
)

// A file is replaced as a whole: until Commit, and after a crash or an error before it, the old one is there.
func ExampleFS_Create() {
	dir, err := os.MkdirTemp("", "durable-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "index.json")

	replace := func(fs durable.FS, text string) error {
		file, err := fs.Create(dir)
		if err != nil {
			return err
		}
		if _, err := file.Write([]byte(text)); err != nil {
			return errors.Join(err, file.Discard())
		}
		return file.Commit(path, 0o644)
	}
	fmt.Println(replace(durable.FS{}, "first"))

	full := durable.WithFault(context.Background(), func(op durable.Op, _ string) error {
		if op == durable.OpSync {
			return errors.New("no space left on device")
		}
		return nil
	})
	fmt.Println(replace(durable.On(full), "second"))

	left, err := os.ReadDir(dir)
	if err != nil {
		panic(err)
	}
	data, err := os.ReadFile(path)
	fmt.Println(len(left), string(data), err)
	// Output:
	// <nil>
	// no space left on device
	// 1 first <nil>
}
