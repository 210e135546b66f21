package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/ocicache/ocicache/internal/durable"
)

// noteWaiting says whose lock is waited for, and for how long at most, once for each lock.
func (a *app) noteWaiting(w durable.Waiting) {
	if _, said := a.waited.LoadOrStore(w.Path, true); said {
		return
	}
	most := max(w.Most, time.Second).Round(time.Second)
	a.note(fmt.Sprintf("%s is locked by %s; waiting for it, %v more at most (--lock-timeout)", w.Path, cmp.Or(w.Holder, "another process"), most))
}
