// Package progress shows layout.Events to people and programs: as bars on a terminal, as occasional lines in a log, as
// lines of JSON. It is the door of mpb. What takes less than a second shows nothing, except as JSON.
package progress
