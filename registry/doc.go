// Package registry is the registry as a place that caches come from and go to, and the door of containers/image.
//
// It uses the docker transport's ImageSource and ImageDestination only, which move bytes and know nothing of what is in
// them: a cache whose root is a list has layers where tools that copy images expect manifests. Everything that is read
// or written is checked here or by the reader: registries accept wrong sizes and missing blobs, and the transport hands
// out damaged ones.
//
// What a registry takes is described by a Profile; what its refusals mean, a *RefusedError says.
package registry
