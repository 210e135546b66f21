package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is the ID that runs in the container: no user on the host, and the same as in other images without a shell.
const user = 65532

// newImage makes the image for a binary.
func newImage(binary []byte, platform v1.Platform, version string, date time.Time) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: platform.Architecture,
		OS:           platform.OS,
		Variant:      platform.Variant,
		Created:      v1.Time{Time: date},
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       fmt.Sprintf("%d:%d", user, user),
			Entrypoint: []string{"/ocicache"},
			WorkingDir: "/home/ocicache",
			Env:        []string{"PATH=/"},
			Labels: map[string]string{
				"org.opencontainers.image.title":    "ocicache",
				"org.opencontainers.image.version":  version,
				"org.opencontainers.image.source":   "https://github.com/ocicache/ocicache",
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
	})
	if err != nil {
		return nil, err
	}
	for _, l := range []struct {
		what  string
		files []tar.Header
		data  map[string][]byte
	}{
		{"certificates and a user", baseFiles(), map[string][]byte{
			"etc/ssl/certs/ca-certificates.crt": roots(),
			"etc/passwd":                        fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\nocicache:x:%d:%d::/home/ocicache:/sbin/nologin\n", user, user),
			"etc/group":                         fmt.Appendf(nil, "root:x:0:\nocicache:x:%d:\n", user),
		}},
		{"ocicache " + version, []tar.Header{{Name: "ocicache", Mode: 0o755}}, map[string][]byte{"ocicache": binary}},
	} {
		layer, err := newLayer(l.files, l.data, date)
		if err != nil {
			return nil, fmt.Errorf("layer of %s: %w", l.what, err)
		}
		added := mutate.Addendum{Layer: layer, MediaType: types.OCILayer, History: v1.History{Created: v1.Time{Time: date}, CreatedBy: l.what}}
		if image, err = mutate.Append(image, added); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// baseFiles returns the files in the image other than the binary.
func baseFiles() []tar.Header {
	return []tar.Header{
		{Name: "etc/", Mode: 0o755},
		{Name: "etc/group", Mode: 0o644},
		{Name: "etc/passwd", Mode: 0o644},
		{Name: "etc/ssl/", Mode: 0o755},
		{Name: "etc/ssl/certs/", Mode: 0o755},
		{Name: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644},
		{Name: "home/", Mode: 0o755},
		{Name: "home/ocicache/", Mode: 0o755, Uid: user, Gid: user},
		{Name: "tmp/", Mode: 0o1777},
	}
}

// newLayer makes a layer of files, in the given order.
func newLayer(files []tar.Header, data map[string][]byte, date time.Time) (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range files {
		content := data[header.Name]
		header.Size, header.ModTime, header.Format = int64(len(content)), date, tar.FormatPAX
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(9))
}
