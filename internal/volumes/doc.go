// Package volumes stores a stream of bytes, an archive, in one file or in volumes: pieces of one size, recovery volumes
// that make up for lost ones, and a list of sums that sha256sum understands. It reads volumes as one, rebuilding what
// is lost, and it decides which names are free for new ones. It does not know what the bytes are.
//
// An archive FILE in volumes is FILE.001 and so on, FILE.parity.001 and so on, and FILE.SHA256SUMS.
package volumes
