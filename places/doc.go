// Package places opens what a reference names: it returns the place, finds what is meant in it, and closes it when the job is
// done. It is the only package that knows every place; the command and other people's programs use it.
//
// A tag or a digest in a reference is applied here and nowhere else: Opened.Cache, Caches, Image and Entries return exactly
// what was asked for.
package places
