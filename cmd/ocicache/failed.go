package main

import "github.com/ocicache/ocicache/convert"

// failedOf makes one error of those of several caches, which are nil for a cache that did not fail: nil where none did, and that of
// a cache alone as it is.
func failedOf(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	failed := &convert.SyncError{Of: len(errs)}
	for _, err := range errs {
		if err != nil {
			failed.Failed++
			failed.Errs = append(failed.Errs, err)
		}
	}
	if failed.Failed == 0 {
		return nil
	}
	return failed
}
