// Package placetest is the suite that every place passes: it tests what layout.Source and layout.Sink promise, and knows no
// particular place. A program with a place of its own tests it like this:
//
//	func TestBucket(t *testing.T) {
//		placetest.Run(t, placetest.Subject{
//			New: func(t *testing.T) layout.Place { return newBucket(t) },
//			Lacks: []placetest.Ability{
//				placetest.Untagged, placetest.SharedTags, placetest.Damaging, placetest.RandomAccess,
//				placetest.Resolving, placetest.Locking, placetest.UnnamedRoots,
//			},
//		})
//	}
//
// Lacks lists what the place can't do, and is tested too: the test fails if the place can do what it is said to lack. Nothing is
// skipped. Contents, Tree and the functions that make them are there for other tests as well.
package placetest
