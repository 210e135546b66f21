// Package places opens what a reference names: the place, what of it is meant, and a close that ends with the job. It is
// the one package that knows every place, for the command and for other people's programs.
//
// A tag or a digest in a reference is applied here and nowhere else: Opened.Cache, Caches, Image and Entries return what
// is meant, and what they return is what was asked for.
package places
