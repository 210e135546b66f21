// Package archive is the tar file as a place: an OCI image layout that crosses an air gap, whole or only what the far
// side lacks, in one file or in volumes.
//
// An archive begins with oci-layout, index.json and a Description, followed by manifests and configs, then layers, so
// that whoever reads it as a stream knows at once what to expect. The same content gives the same bytes. Other tools can
// read it as what it is: a tar of an OCI layout.
//
// Pack writes an archive; Open shows it as a layout.Source without unpacking it; Unpack brings it into a layout, after
// making sure that everything is there. Whatever comes from an archive is treated as hostile.
package archive
