package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// marshalHead returns the head of the recovery volume with the number, counted from 1. Its length does not depend on the sums.
func (l *listing) marshalHead(number int) []byte {
	list := l.marshal(true)
	head := append(fmt.Appendf(nil, headFormat, number, len(list)), list...)
	return fmt.Appendf(head, "%s\n", sumOf(head))
}

// recoveryHead is what the head of a recovery volume says.
type recoveryHead struct {
	list   *listing
	number int   // from 1
	length int64 // of the head, so that the payload begins there
}

// parseHead reads the head from the beginning of a recovery volume. It fails with ErrList if that is not a head, or was
// changed. It reads no more than a head can have, however long the head claims to be.
func parseHead(r io.Reader) (*recoveryHead, error) {
	first := make([]byte, len(fmt.Sprintf(headFormat, 0, 0)))
	if _, err := io.ReadFull(r, first); err != nil {
		return nil, headError(err)
	}
	if !bytes.HasPrefix(first, []byte(headMagic)) {
		return nil, fmt.Errorf("%w: not the head of a recovery volume", ErrList)
	}
	var number, length int
	if _, err := fmt.Sscanf(string(first), headFormat, &number, &length); err != nil {
		return nil, fmt.Errorf("%w: head: %w", ErrList, err)
	}
	if length < 0 || length > maxHeadList {
		return nil, fmt.Errorf("%w: a head can't have a list of %d bytes", ErrList, length)
	}
	rest := make([]byte, length+sumLength+1)
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, headError(err)
	}
	list, err := parseList(rest[:length], true)
	if err != nil {
		return nil, err
	}
	if number < 1 || number > len(list.recovery) ||
		!bytes.Equal(list.marshalHead(number), slices.Concat(first, rest)) {
		return nil, fmt.Errorf("%w: the head was changed", ErrList)
	}
	return &recoveryHead{list: list, number: number, length: int64(len(first) + len(rest))}, nil
}

// headError tells a file that is too short from one that can't be read.
func headError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the head is cut off", ErrList)
	}
	return err
}
