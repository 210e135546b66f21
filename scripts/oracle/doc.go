// Package oracle asks BuildKit's own code about caches, and compares what it says with what ocicache says. It is a module
// of its own, so that BuildKit's many dependencies stay out of ocicache's.
//
// It has nothing but tests:
//
//	cd scripts/oracle && go test ./...
package oracle
