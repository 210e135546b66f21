package durable

import (
	"errors"
	"io"
)

// ReadRegular reads a regular file, at most limit bytes of it. It fails as OpenRegular does.
func ReadRegular(path string, limit int64) (raw []byte, err error) {
	file, _, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return io.ReadAll(io.LimitReader(file, limit))
}
