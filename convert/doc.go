// Package convert changes caches between places: their form, and the compression of their layers.
//
// A conversion is a plan, made before anything is read in bulk, and its execution: layers that need it are recompressed
// in parallel, root and config are written, the result is proved to be what BuildKit's importer accepts, and finally the
// tag moves. Until then the destination shows its old state.
package convert
