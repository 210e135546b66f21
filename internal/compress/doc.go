// Package compress owns the codecs of layers: telling how a layer is encoded by looking at its bytes, decoding and
// encoding it. It is the door of klauspost/compress and of estargz.
//
// Encoding is deterministic: the same tar, compression, level and Version give the same bytes, on any number of cores.
//
// Decoding takes what BuildKit takes, and refuses what BuildKit refuses: gzip of several members, zstd of several frames,
// including skippable ones, and windows up to MaxZstdWindow; but no dictionaries, and nothing after the end. Gzip or
// zstd of nothing is an empty tar.
package compress
