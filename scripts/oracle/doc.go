// Package oracle asks BuildKit's own code about caches, and compares the answers with ocicache's. It is a module of its
// own, so that BuildKit's many dependencies stay out of ocicache's.
//
// It contains only tests:
//
//	cd scripts/oracle && go test ./...
package oracle
