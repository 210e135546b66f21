// Package e2e runs the Job of the directory above on a real Kubernetes, with the tag e2e: make e2e-kubernetes.
//
// It needs root, runc, docker-registry, and what ../cluster/build.sh builds. What is missing fails the test: it is never skipped.
package e2e
