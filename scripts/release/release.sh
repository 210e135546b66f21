#!/bin/bash
# Makes all that is published of a version, the same bytes whenever and wherever it is made with one version of Go:
#
#   DIR/release/ocicache_VERSION_OS_ARCH.tar.gz    binary, man pages, completions; Linux and macOS
#   DIR/release/ocicache_VERSION_linux_ARCH.deb    the same as packages, .rpm and .apk as well
#   DIR/release/ocicache_VERSION_OS_ARCH.cdx.json  what is in the binary (CycloneDX)
#   DIR/release/ocicache_VERSION_image.tar         the container image, an OCI layout
#   DIR/release/SHA256SUMS
#   DIR/image                                      the container image, unpacked
#
# Run it from anywhere: scripts/release/release.sh [DIR]; DIR is dist unless it is given. VERSION and SOURCE_DATE_EPOCH are those of
# the commit unless they are set. A commit without a tag vX.Y.Z is packaged as 0.0.0-gitDATE.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."

mkdir -p "${1:-dist}"
dir=$(cd "${1:-dist}" && pwd)
platforms=(linux/amd64 linux/arm64 darwin/amd64 darwin/arm64)

say() { echo "release: $*" >&2; }

: "${VERSION:=$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}"
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
[ "$SOURCE_DATE_EPOCH" != 0 ] || say 'no commit to take the date of'
PACKAGE_VERSION=0.0.0-git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d)
if [[ $VERSION =~ ^v([0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)[0-9]*)?)$ ]]; then
  PACKAGE_VERSION=${BASH_REMATCH[1]}
fi
say "version $VERSION, packaged as $PACKAGE_VERSION, of $(date -u -d "@$SOURCE_DATE_EPOCH" +%F)"

# Whatever else decides about bytes.
export VERSION PACKAGE_VERSION SOURCE_DATE_EPOCH
export LC_ALL=C TZ=UTC CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' GOAMD64=v1 GOARM64=v8.0
umask 022

STAGE=$(mktemp -d)
export STAGE
trap 'rm -rf "$STAGE"' EXIT
rm -rf "$dir/release" "$dir/image"
mkdir -p "$dir/release"
name=$dir/release/ocicache_$PACKAGE_VERSION

pack() { # DIR NAME...: what is in a directory, as a tar file
  tar -C "$1" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -c "${@:2}"
}

say 'tools'
go -C scripts/release build -o "$STAGE/tools/" github.com/goreleaser/nfpm/v2/cmd/nfpm github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
go -C scripts/image build -o "$STAGE/tools/image" .
go build -tags man -ldflags "-X main.version=$VERSION" -o "$STAGE/tools/ocicache" ./cmd/ocicache

say 'man pages and completions'
mkdir "$STAGE/man" "$STAGE/completions"
"$STAGE/tools/ocicache" man "$STAGE/man"
cp -r "$STAGE/man" "$STAGE/man.gz"
gzip -9n "$STAGE"/man.gz/*.1
for shell in bash zsh fish powershell; do "$STAGE/tools/ocicache" completion "$shell" >"$STAGE/completions/ocicache.$shell"; done
mv "$STAGE/completions/ocicache.powershell" "$STAGE/completions/ocicache.ps1" # PowerShell runs no other name

# What the README links to lies in the repository, not beside it.
at=main
[ "$PACKAGE_VERSION" != "${VERSION#v}" ] || at=$VERSION
sed -E "s#\]\(([A-Za-z][^):]*)\)#](https://github.com/ocicache/ocicache/blob/$at/\1)#g" README.md >"$STAGE/README.md"

for platform in "${platforms[@]}"; do
  say "$platform"
  export GOOS=${platform%/*} ARCH=${platform#*/}
  mkdir "$STAGE/${GOOS}_$ARCH"
  GOARCH=$ARCH make -s build OUT="$STAGE/${GOOS}_$ARCH/ocicache"

  tree=$(basename "${name}_${GOOS}_$ARCH")
  mkdir "$STAGE/$tree"
  cp -r "$STAGE/${GOOS}_$ARCH/ocicache" "$STAGE/man" "$STAGE/completions" LICENSE "$STAGE/README.md" "$STAGE/$tree"
  pack "$STAGE" "$tree" | gzip -9n >"${name}_${GOOS}_$ARCH.tar.gz"

  # Licenses are read from the modules that were just built, whose sums go.sum has proved: nothing is asked for, neither
  # a proxy nor the database of sums, without whose answer go would not look into its own module cache.
  GOARCH=$ARCH GOPROXY=off GOSUMDB=off "$STAGE/tools/cyclonedx-gomod" bin -json -std -licenses -noserial -notimestamp -version "$VERSION" \
    -output "${name}_${GOOS}_$ARCH.cdx.json" "$STAGE/${GOOS}_$ARCH/ocicache" 2>"$STAGE/sbom.log" || { cat "$STAGE/sbom.log" >&2; exit 1; }

  [ "$GOOS" = linux ] || continue
  for packager in deb rpm apk; do
    "$STAGE/tools/nfpm" package --config scripts/release/nfpm.yaml --packager "$packager" --target "${name}_linux_$ARCH.$packager" >/dev/null
  done
done
unset GOOS ARCH

say 'image'
"$STAGE/tools/image" -tag "$VERSION" -date "$SOURCE_DATE_EPOCH" "$dir/image" \
  "linux/amd64=$STAGE/linux_amd64/ocicache" "linux/arm64=$STAGE/linux_arm64/ocicache"
pack "$dir/image" oci-layout index.json blobs >"${name}_image.tar"

(cd "$dir/release" && sha256sum -- ocicache_* >SHA256SUMS)
say "made $dir/release"
