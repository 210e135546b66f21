// Package kubernetes tests the manifests in this directory, and that the schema of plans agrees with their parser. It is a module of
// its own, so that nothing else depends on its requirements.
//
// The image is the one that scripts/image makes.
package kubernetes
