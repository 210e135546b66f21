// Package layout defines what a place is, and has the two places that need nothing else: Dir, an OCI layout directory
// as BuildKit's --cache-to type=local writes it, and Memory, a place in memory.
//
// A place to read caches from is a Source, one to write them to is a Sink. Whatever is read is verified on the
// reader's side, so that no place can forget it: OpenVerified for streams, ReadBlob for what fits in memory.
//
// Dir follows BuildKit's rules where there are any (which entry a tag finds, which locks a
// writer holds) and is careful where BuildKit is not: it replaces a blob or index.json by a rename, after an fsync.
package layout
