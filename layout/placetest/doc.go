// Package placetest is the suite that every place passes: what layout.Source and layout.Sink promise, as tests. It knows no
// place. A program that has a place of its own tests it like this:
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
// Lacks is a table of what the place can't do, and is tested too: to lack what works fails the test. Nothing is skipped.
// Contents, Tree and those who make them are there for other tests as well.
package placetest
