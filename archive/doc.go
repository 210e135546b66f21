// Package archive is the tar file as a place: an OCI image layout that crosses an air gap, whole or only what the far
// side lacks, in one file or in volumes.
//
// An archive begins with oci-layout, index.json and a Description, then come manifests and configs, then layers, so
// that whoever reads it as a stream knows at once what to expect. The same content gives the same bytes. Others can
// read it as what it is: a tar of an OCI layout.
//
// Pack writes one; Open shows one as a layout.Source without unpacking it; Unpack brings one into a layout, after it has
// made sure that everything is there. Whatever comes from an archive counts as hostile.
package archive
