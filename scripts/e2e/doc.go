// Package e2e proves with the real BuildKit that a cache which ocicache wrote
// is a cache that BuildKit still hits.
//
// The tests carry the build tag e2e. They need root, runc on the PATH, and
// buildkitd and buildctl in .bin at the root of the repository (or named by
// the environment variables BUILDKITD and BUILDCTL):
//
//	scripts/e2e-setup.sh
//	go test -tags e2e -count=1 -timeout 30m -v ./scripts/e2e
//
// (-v shows the times, and what was skipped.) Where something is missing the
// tests are skipped; with E2E=required they
// fail. OCICACHE names an ocicache to test instead of the one that the tests
// build. E2E_FULL=1 runs every cache of testdata/caches through every form and
// compression, instead of one of them for each cache, and tries what BuildKit
// needs long to give up.
//
// BuildKit's exit status proves nothing: with a dead cache it builds
// everything again and says 0. So the oracle starts a daemon that knows
// nothing, imports the cache, and asks which steps came back cached and which
// layers the image got. Nothing here shares code with ocicache: what the tests
// need to know about a cache they read themselves.
package e2e
