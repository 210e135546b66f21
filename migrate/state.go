package migrate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/layout"
)

// maxLine bounds a line of a state, in bytes. A longer one does not belong to a state.
const maxLine = 1 << 20

// NoStateError says that a file has lines, but none of a state.
type NoStateError struct{ Path string }

func (e *NoStateError) Error() string {
	return e.Path + " is no state of a migration: no line of it says which version it has"
}

// VersionError says that a state has a version that this program does not know.
type VersionError struct {
	Path    string
	Version int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s is a state of version %d; this program knows version %d", e.Path, e.Version, StateVersion)
}

// Read adds the lines of a reader: a state, or a log with one in it. name is for messages. It fails with a *NoStateError if there
// are lines, but none says which version they have, and with a *VersionError if that is another version.
func (s *State) Read(name string, r io.Reader) error {
	s.next()
	lines := bufio.NewReaderSize(r, 64<<10)
	begun, foreign := false, 0
	for {
		line, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			record, ok := parseRecord(text)
			switch {
			case ok && record.Event == EventRun && record.Version != StateVersion:
				return &VersionError{Path: name, Version: record.Version}
			case ok && (begun || record.Event == EventRun):
				begun = true
				s.Add(record)
			default:
				foreign++
			}
		}
		if err != nil {
			break
		}
	}
	if s.Skipped += foreign; foreign > 0 && !begun {
		return &NoStateError{Path: name}
	}
	return nil
}

// readLine reads a line. If it is too long for a state, only its beginning is returned.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line) <= maxLine {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func parseRecord(line []byte) (Record, bool) {
	var r Record
	if len(line) > maxLine || json.Unmarshal(line, &r) != nil || !r.isOurs() {
		return Record{}, false
	}
	return r, true
}

// StateFile is a state in a file that lines are added to. Only one process has it open.
type StateFile struct {
	*State
	log  *durable.Log
	path string
}

// OpenState opens a state, or makes it if there is none. It fails with a *layout.LockedError if another process has it open for
// longer than timeout, and as State.Read does.
func OpenState(ctx context.Context, path string, timeout time.Duration) (*StateFile, error) {
	log, err := durable.On(ctx).OpenLog(ctx, path, timeout)
	var held *durable.HeldError
	if errors.As(err, &held) {
		return nil, &layout.LockedError{Path: held.Path, Holder: held.Holder}
	}
	if err != nil {
		return nil, fmt.Errorf("open the state: %w", err)
	}
	f := &StateFile{State: NewState(), log: log, path: path}
	f.lineOf = nil // nothing else is read
	err = f.Read(path, log.Reader())
	var none *NoStateError
	if errors.As(err, &none) && f.Skipped == 1 && log.Torn() && beginsAsOurs(log.Reader()) {
		err = nil // the very first line was torn
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return f, nil
}

// beginsAsOurs reports whether the first line begins like one of a state, as far as it goes.
func beginsAsOurs(r io.Reader) bool {
	const ours = `{"time":"`
	begin := make([]byte, len(ours))
	n, err := io.ReadFull(r, begin)
	return (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) && string(begin[:n]) == ours[:n]
}

// Record adds a line, and returns once it is on disk.
func (f *StateFile) Record(r Record) error {
	line, err := r.line()
	if err == nil {
		err = f.log.Append(line)
	}
	if err != nil {
		return fmt.Errorf("write the state %s: %w", f.path, err)
	}
	return nil
}

// Close lets other processes open the file.
func (f *StateFile) Close() error { return f.log.Close() }

// RecordTo returns a function for Options.Record that writes lines to w, with one Write each.
func RecordTo(w io.Writer) func(Record) error {
	return func(r Record) error {
		line, err := r.line()
		if err != nil {
			return err
		}
		_, err = w.Write(line)
		return err
	}
}

func (r Record) line() ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	err := enc.Encode(r)
	return line.Bytes(), err
}
