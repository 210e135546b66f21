package layout

import (
	"errors"
	"io"
	"os"
)

// Spool copies all that r has to a temporary file, for reading it anywhere. The file has no name any more, so that it goes
// away with the section, or with the process.
func Spool(r io.Reader) (*Section, error) {
	file, err := os.CreateTemp("", "ocicache-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	n, err := io.Copy(file, r)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Section{io.NewSectionReader(file, 0, n), file}, nil
}
