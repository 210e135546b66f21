#!/bin/bash
# Compares requests, time and memory of ocicache with those of regsync, crane and skopeo, for one repository of many caches
# (200, or the first argument) that is copied from one registry to another, and once more with nothing left to do; then the latter in
# turns, 10 times or as the second argument says. Needs docker-registry and skopeo (Debian), and go; the others are built into .bin.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/.bin

mkdir -p "$bin"
(cd "$root" && CGO_ENABLED=0 go build -o "$bin/ocicache" ./cmd/ocicache)
for peer in github.com/regclient/regclient/cmd/regsync@v0.11.7 github.com/google/go-containerregistry/cmd/crane@v0.22.1; do
  name=${peer##*/}
  [ -x "$bin/${name%@*}" ] || (cd / && GOBIN=$bin GOFLAGS=-mod=mod go install "$peer")
done

cd "$root"
OCICACHE_FLEET=$bin OCICACHE_FLEET_CACHES=${1:-200} OCICACHE_FLEET_ROUNDS=${2:-10} go test -count=1 -timeout 60m -run '^TestFleet(Again)?$' -v ./scripts/bench | grep -v '^=== '
