// Package release tests what scripts/release/release.sh made in dist/: archives, packages, the container image, and the action
// that installs them. It is a module of its own because of the packaging programs, which are pinned in its go.mod.
//
//	make release-test
//
// The tests install packages into directories and run containers, so they need root, and dpkg, rpm, skopeo, docker-registry, runc
// and curl. If anything is missing, a test is skipped, unless E2E=required.
package release
