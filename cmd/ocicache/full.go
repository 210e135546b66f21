package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/ocicache/ocicache/convert"
)

// unpublishedError says that a disk filled up before a command moved its only tag, or all of its tags at once.
type unpublishedError struct{ error }

func (e *unpublishedError) Unwrap() error { return e.error }

// isFull reports whether an error is about a full disk, or a quota.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// unpublished marks an error of what moves a tag as its last step if it is about a full disk. Only the sync after that step may fail when
// the tag has moved already.
func unpublished(err error) error {
	var path *fs.PathError
	if !isFull(err) || errors.As(err, &path) && path.Op == "sync" {
		return err
	}
	return &unpublishedError{err}
}

// hintFullDisk is about a disk that filled up while caches were written.
func hintFullDisk(err error) string {
	var before *unpublishedError
	var several *convert.SyncError
	switch {
	case errors.As(err, &before):
		return "the disk is full; nothing was published, so free some space and run it again"
	case errors.As(err, &several) && several.Failed == several.Of:
		return "the disk is full; all caches failed, so free some space and run it again"
	case errors.As(err, &several):
		return "the disk is full; the caches that are not among those that failed are complete, so free some space and run it again"
	}
	return "the disk is full; everything published so far is complete, so free some space and run it again"
}
