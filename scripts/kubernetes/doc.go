// Package kubernetes tests the manifests in this directory, and that the schema of plans says what their reader does. It is a module
// of its own, so that nothing else depends on what it takes.
//
// The image is the one that scripts/image makes.
package kubernetes
