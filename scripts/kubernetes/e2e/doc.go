// Package e2e runs the Job of the parent directory on a real Kubernetes, with the tag e2e: make e2e-kubernetes.
//
// It needs root, runc, docker-registry, and what ../cluster/build.sh builds. If anything is missing, the test fails; it is never skipped.
package e2e
