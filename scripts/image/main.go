// Command image makes the container image of ocicache from static binaries: an OCI layout with one image for each platform.
// It needs no daemon, no root and no network, and makes the same bytes from the same binaries.
//
//	go -C scripts/image run . -tag v1.2.3 -date 1796000000 DIR linux/amd64=FILE linux/arm64=FILE
//
// The image has the binary, the certificate authorities that Mozilla trusts (as golang.org/x/crypto/x509roots has them),
// an unprivileged user with a home directory, /tmp, and nothing else.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	tag := flag.String("tag", "latest", "the image's tag in the layout, and its version")
	date := flag.Int64("date", 0, "the image's date, in seconds since 1970")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: image [-tag TAG] [-date SECONDS] DIR OS/ARCH=FILE...")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *tag, time.Unix(*date, 0).UTC(), flag.Args()[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

// run writes the layout, which must not exist yet.
func run(dir, tag string, date time.Time, binaries []string) error {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("%s is there already", dir)
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("make the layout %s: %w", dir, err)
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, arg := range binaries {
		name, file, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%s: want OS/ARCH=FILE", arg)
		}
		platform, err := v1.ParsePlatform(name)
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		binary, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the binary for %s: %w", name, err)
		}
		image, err := newImage(binary, *platform, tag, date)
		if err != nil {
			return fmt.Errorf("make the image for %s: %w", name, err)
		}
		descriptor, err := add(path, image, *platform)
		if err != nil {
			return fmt.Errorf("write the image for %s: %w", name, err)
		}
		index.Manifests = append(index.Manifests, descriptor)
	}
	return addIndex(path, index, tag)
}
