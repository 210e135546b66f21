// Package registry is the registry as a place that caches come from and go to, and the door of containers/image.
//
// Names, logins, registries.conf with its mirrors, and certificates are left to containers/image, so that what works with
// skopeo works here. The requests are made by a small client of our own, because that library's docker transport begins a new
// session for each tag, keeps a token for at least a minute whatever the registry says, and waits after a 429 for as long as it
// wants. The client logs in through oras-go's, and sends no credentials to a token server on plain HTTP that a registry on
// HTTPS names. Everything that is read or written is checked here or by the reader: registries accept wrong sizes and missing
// blobs, and hand out damaged ones. The repositories of a run share what is known about a registry, and the pace that it can
// bear (Hosts).
//
// A Profile describes what a registry takes; a *RefusedError says what its refusal means.
package registry
