#!/bin/bash
# Builds the program twice, in two directories of different names, the second time from an empty build cache, and
# compares what came out. With 'release' it does so with all that is published of a version.
#
# Run it from anywhere: scripts/repro.sh [release]
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-build}
case $target in
build) product=bin/ocicache ;;
release) product=dist/release/SHA256SUMS ;;
*) echo "usage: $0 [release]" >&2; exit 2 ;;
esac

VERSION=$(git describe --tags --always --dirty 2>/dev/null || true)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export VERSION SOURCE_DATE_EPOCH # the copies have no commit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { # DIRECTORY
  mkdir -p "$1"
  tar -c --exclude=./.git --exclude=./.bin --exclude=./bin --exclude=./dist . | tar -x -C "$1"
  make -s -C "$1" "$target"
}

build "$work/one"
GOCACHE=$work/cache build "$work/two/with/a/longer/name"

cd "$work"
sha256sum "one/$product" "two/with/a/longer/name/$product"
if ! cmp "one/$product" "two/with/a/longer/name/$product"; then
  [ "$target" != release ] || diff "one/$product" "two/with/a/longer/name/$product" || true
  echo "repro: two builds, two digests" >&2
  exit 1
fi
echo "repro: two builds, one digest"
