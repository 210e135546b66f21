// Package e2e proves with the real BuildKit that it still hits a cache that
// ocicache wrote.
//
// The tests carry the build tag e2e. They need root, runc on the PATH, and
// buildkitd and buildctl in .bin at the root of the repository (or named by
// the environment variables BUILDKITD and BUILDCTL):
//
//	scripts/e2e-setup.sh
//	go test -tags e2e -count=1 -timeout 30m -v ./scripts/e2e
//
// (-v shows times and skipped tests.) If something is missing, the tests are
// skipped; with E2E=required they fail. OCICACHE names an ocicache to test
// instead of the one that the tests build. E2E_FULL=1 runs every cache of
// testdata/caches through every form and compression, instead of one of them
// for each cache, and tries what BuildKit takes long to give up on.
//
// BuildKit's exit status proves nothing: with a dead cache it builds everything
// again and returns 0. So the oracle starts a daemon without any state, imports
// the cache, and asks which steps came back cached and which layers the image
// got. Nothing here shares code with ocicache: the tests themselves read what
// they need to know about a cache.
package e2e
