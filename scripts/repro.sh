#!/bin/bash
# Builds the program twice, in two directories of different names, the second time from an empty build cache, and
# compares what came out.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(git describe --tags --always --dirty 2>/dev/null || true)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { # DIRECTORY
  mkdir -p "$1"
  tar -c --exclude=./.git --exclude=./.bin --exclude=./bin --exclude=./dist . | tar -x -C "$1"
  make -s -C "$1" build VERSION="$version"
}

build "$work/one"
GOCACHE=$work/cache build "$work/two/with/a/longer/name"

cd "$work"
sha256sum one/bin/ocicache two/with/a/longer/name/bin/ocicache
if ! cmp one/bin/ocicache two/with/a/longer/name/bin/ocicache; then
  echo "repro: two builds, two digests" >&2
  exit 1
fi
echo "repro: two builds, one digest"
