package main

import (
	"errors"
	"fmt"

	"github.com/ocicache/ocicache/layout"
)

// roomNotes returns a note for a dry run if something is certain not to fit below a path.
func (a *app) roomNotes(dryRun bool, path string, src layout.Source, bytes int64) []string {
	var room *layout.RoomError
	if dryRun && errors.As(layout.CheckRoomAt(path, a.layoutOptions(), src, bytes), &room) {
		return []string{fmt.Sprintf("not enough space: %s needed, %s free", size(room.Need), size(room.Free))}
	}
	return nil
}
