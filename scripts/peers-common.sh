# shellcheck shell=bash
# What the comparisons with other tools share. They set root, bin, work, cache and megabytes before they read it.

build() {
  mkdir -p "$bin"
  (cd "$root" && CGO_ENABLED=0 go build -o "$bin/ocicache" ./cmd/ocicache)
  for peer in github.com/regclient/regclient/cmd/regctl@v0.11.7 \
    github.com/google/go-containerregistry/cmd/crane@v0.22.1 oras.land/oras/cmd/oras@v1.3.6; do
    name=${peer##*/}
    [ -x "$bin/${name%@*}" ] || GOBIN=$bin GOFLAGS=-mod=mod go install "$peer"
  done
}

# A cache of random layers, none of which compress. Each run of a tool gets one of its own: skopeo
# remembers where it has pushed a blob before, and the registry then takes it from there.
make_cache() {
  rm -rf "$cache"
  mkdir -p "$cache/blobs/sha256"
  local layers='' config='' parent=-1 i sum size
  for i in $(seq 8); do
    head -c $((megabytes * 1000000 / 8)) /dev/urandom >"$work/layer"
    sum=$(sha256sum "$work/layer" | cut -d' ' -f1)
    size=$(stat -c %s "$work/layer")
    mv "$work/layer" "$cache/blobs/sha256/$sum"
    layers+=${layers:+,}'{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:'$sum'","size":'$size',"annotations":{"containerd.io/uncompressed":"sha256:'$sum'"}}'
    config+=${config:+,}'{"blob":"sha256:'$sum'","parent":'$parent'}'
    parent=$((i - 1))
  done
  put '{"layers":['"$config"'],"records":[{"layers":[{"layer":7,"createdAt":"2024-01-01T00:00:00Z"}],"digest":"sha256:'"$sum"'"}]}'
  put '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"sha256:'"$sum"'","size":'"$size"'},"layers":['"$layers"']}'
  printf '%s' '{"imageLayoutVersion":"1.0.0"}' >"$cache/oci-layout"
  printf '%s' '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:'"$sum"'","size":'"$size"',"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' >"$cache/index.json"
}

put() {
  printf '%s' "$1" >"$work/blob"
  sum=$(sha256sum "$work/blob" | cut -d' ' -f1)
  size=$(stat -c %s "$work/blob")
  mv "$work/blob" "$cache/blobs/sha256/$sum"
}
