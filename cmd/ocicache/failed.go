package main

import "github.com/ocicache/ocicache/convert"

// failedOf makes one error of those of several caches: nil where none failed, and that of a cache alone as it is.
func failedOf[T any](caches []T, errOf func(T) error) error {
	var errs []error
	for _, cache := range caches {
		if err := errOf(cache); err != nil {
			errs = append(errs, err)
		}
	}
	return failedAmong(errs, len(caches))
}

// failedAmong is failedOf for the errors of so many caches.
func failedAmong(errs []error, of int) error {
	switch {
	case len(errs) == 0:
		return nil
	case of == 1:
		return errs[0]
	}
	return &convert.SyncError{Failed: len(errs), Of: of, Errs: errs}
}
