// Package layout says what a place is, and has the two that need nothing else: Dir, an OCI layout directory
// as BuildKit's --cache-to type=local writes it, and Memory, a place in memory.
//
// A place that caches come from is a Source, one that they go to is a Sink. Whatever is read is verified on the
// reader's side, so that no place can forget it: OpenVerified for streams, ReadBlob for what fits in memory.
//
// Dir follows BuildKit's rules where BuildKit has some (which entry a tag finds, which locks a
// writer holds) and is careful where BuildKit is not: a blob or index.json is replaced by a rename, after an fsync.
package layout
