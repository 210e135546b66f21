// Package compress owns the codecs of layers: telling how a layer is packed by looking at its bytes, unpacking and
// packing it. It is the door of klauspost/compress and of estargz.
//
// Packing is deterministic: the same tar, compression, level and Version give the same bytes, on any number of cores.
package compress
