#!/bin/bash
# Compares the time that ocicache needs to push and to pull one cache with that of its peers, on one registry of this
# machine, in one run:
#
#   scripts/peers.sh [MEGABYTES]        default 256
#
# Only ratios mean something: the registry shares the machine. The cache is in the artifact form, which is the only one
# that all of them can move. Needs docker-registry and skopeo (Debian), and go; other peers are built into .bin.
set -euo pipefail

megabytes=${1:-256}
rounds=5
root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/.bin
work=$(mktemp -d)
host=127.0.0.1:5055
cache=$work/cache

registry=
trap 'if [ -n "$registry" ]; then kill "$registry"; fi; rm -rf "$work"' EXIT

build() {
  mkdir -p "$bin"
  (cd "$root" && CGO_ENABLED=0 go build -o "$bin/ocicache" ./cmd/ocicache)
  for peer in github.com/regclient/regclient/cmd/regctl@v0.11.7 \
    github.com/google/go-containerregistry/cmd/crane@v0.22.1 oras.land/oras/cmd/oras@v1.3.6; do
    name=${peer##*/}
    [ -x "$bin/${name%@*}" ] || GOBIN=$bin GOFLAGS=-mod=mod go install "$peer"
  done
}

serve() {
  cat >"$work/registry.yml" <<CONFIG
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/registry}, delete: {enabled: true}}
http: {addr: $host}
CONFIG
  docker-registry serve "$work/registry.yml" 2>"$work/registry.log" &
  registry=$!
  for _ in $(seq 100); do
    curl -fs "http://$host/v2/" >/dev/null && return
    sleep 0.1
  done
  echo "docker-registry does not answer" >&2
  return 1
}

# A cache of random layers, none of which compress. Each push gets one of its own: skopeo remembers where it has pushed
# a blob before, and the registry then takes it from there.
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

push() { # TOOL REPOSITORY
  case $1 in
  ocicache) "$bin/ocicache" copy "$cache" "docker://$host/$2:latest" --tls-verify=false ;;
  skopeo) skopeo copy -q --insecure-policy --dest-tls-verify=false "oci:$cache:latest" "docker://$host/$2:latest" ;;
  regctl) "$bin/regctl" --host "reg=$host,tls=disabled" image copy "ocidir://$cache:latest" "$host/$2:latest" ;;
  crane) "$bin/crane" push --insecure "$cache" "$host/$2:latest" ;;
  oras) "$bin/oras" cp --no-tty --from-oci-layout "$cache:latest" --to-plain-http "$host/$2:latest" ;;
  esac
}

pull() { # TOOL REPOSITORY DIR
  case $1 in
  ocicache) "$bin/ocicache" copy "docker://$host/$2:latest" "$3" --tls-verify=false ;;
  skopeo) skopeo copy -q --insecure-policy --src-tls-verify=false "docker://$host/$2:latest" "oci:$3:latest" ;;
  regctl) "$bin/regctl" --host "reg=$host,tls=disabled" image copy "$host/$2:latest" "ocidir://$3:latest" ;;
  crane) "$bin/crane" pull --insecure --format oci "$host/$2:latest" "$3" ;;
  oras) "$bin/oras" cp --no-tty --from-plain-http "$host/$2:latest" --to-oci-layout "$3:latest" ;;
  esac
}

# best COMMAND...: the shortest time of its rounds, in milliseconds. Each round gets a new repository and directory.
best() { # push|pull TOOL
  local least='' round start took repository
  for round in $(seq $rounds); do
    repository=$2-$1-$round
    make_cache
    [ "$1" = push ] || push ocicache "$repository" >/dev/null 2>&1
    start=$(date +%s%N)
    "$1" "$2" "$repository" "$work/out" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
    took=$((($(date +%s%N) - start) / 1000000))
    if [ -z "$least" ] || [ "$took" -lt "$least" ]; then least=$took; fi
    rm -rf "$work/out"
  done
  echo "$least"
}

build
serve
printf '%-10s %10s %8s %10s %8s   (%s MB in 8 layers, best of %s; ratios to ocicache)\n' tool 'push ms' ratio 'pull ms' ratio "$megabytes" "$rounds"
for tool in ocicache skopeo regctl crane oras; do
  if [ "$tool" = skopeo ] && ! command -v skopeo >/dev/null; then
    echo "skopeo     NOT MEASURED: it is not installed"
    continue
  fi
  pushed=$(best push $tool)
  pulled=$(best pull $tool)
  [ "$tool" != ocicache ] || { push_base=$pushed pull_base=$pulled; }
  awk -v t=$tool -v a="$pushed" -v b="$pulled" -v pa="$push_base" -v pb="$pull_base" \
    'BEGIN { printf "%-10s %10d %8.2f %10d %8.2f\n", t, a, a / pa, b, b / pb }'
done
