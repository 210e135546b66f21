// Package registries asks real registries what they take: distribution 3 as it comes, the same with
// validation.manifests.indexes.platforms: none, and Debian's docker-registry (distribution 2.8.2), where it is on the
// PATH. It is a module of its own, so that distribution's many dependencies stay out of ocicache's.
//
// It also holds the registry that ocicache's own tests use (internal/registrytest) to what the real one answers.
//
// It has nothing but tests:
//
//	cd scripts/registries && go test ./...
package registries
