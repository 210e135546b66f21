package main

import "github.com/ocicache/ocicache/convert"

// failedOf makes one error of those of several caches: nil where none failed, and that of a cache alone as it is.
func failedOf[T any](caches []T, errOf func(T) error) error {
	if len(caches) == 1 {
		return errOf(caches[0])
	}
	failed := &convert.SyncError{Of: len(caches)}
	for _, cache := range caches {
		if err := errOf(cache); err != nil {
			failed.Failed++
			failed.Errs = append(failed.Errs, err)
		}
	}
	if failed.Failed == 0 {
		return nil
	}
	return failed
}
