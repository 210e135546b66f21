package main

import "github.com/ocicache/ocicache/convert"

// failedOf combines the errors of several caches into one: nil if none failed, and the error itself if there is only one cache.
func failedOf[T any](caches []T, errOf func(T) error) error {
	var errs []error
	for _, cache := range caches {
		if err := errOf(cache); err != nil {
			errs = append(errs, err)
		}
	}
	return failedAmong(errs, len(caches))
}

// failedAmong is failedOf for the errors of a number of caches.
func failedAmong(errs []error, of int) error {
	switch {
	case len(errs) == 0:
		return nil
	case of == 1:
		return errs[0]
	}
	return &convert.SyncError{Failed: len(errs), Of: of, Errs: errs}
}
