// Package registries asks real registries what they accept: distribution 3 as shipped, the same with
// validation.manifests.indexes.platforms: none, and Debian's docker-registry (distribution 2.8.2), if it is on the
// PATH. It is a module of its own, so that distribution's many dependencies stay out of ocicache's.
//
// It also checks that the registry in ocicache's own tests (internal/registrytest) answers as the real one does.
//
// It contains only tests:
//
//	cd scripts/registries && go test ./...
package registries
