#!/bin/bash
# Compares the time that ocicache needs to pack and to unpack one cache with that of tar, sha256sum, skopeo and regctl,
# in one run:
#
#   scripts/peers-archive.sh [MEGABYTES]        default 512
#
# What writes files is followed by a sync of them. Only ratios mean something. The cache is in the artifact form, which is the only one
# that all of them can move. Needs skopeo (Debian), and go; regctl is built into .bin.
set -euo pipefail

megabytes=${1:-512}
rounds=3
root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/.bin
work=$(mktemp -d)
cache=$work/cache
trap 'rm -rf "$work"' EXIT
# shellcheck source=scripts/peers-common.sh
. "$root/scripts/peers-common.sh"

# as TOOL: one way to make an archive of the cache, or to unpack the one in $work/whole.tar.
as() {
  case $1 in
  'ocicache pack') "$bin/ocicache" pack "$cache" "$work/out.tar" ;;
  'tar cf') tar -C "$cache" -cf "$work/out.tar" . && sync "$work/out.tar" ;;
  'skopeo copy') skopeo copy -q --insecure-policy "oci:$cache:latest" "oci-archive:$work/out.tar:latest" && sync "$work/out.tar" ;;
  'regctl export') "$bin/regctl" image export "ocidir://$cache:latest" "$work/out.tar" && sync "$work/out.tar" ;;
  'sha256sum') find "$cache" -type f -exec sha256sum {} + ;;
  'ocicache unpack') "$bin/ocicache" unpack "$work/whole.tar" "$work/out" ;;
  'tar xf') mkdir "$work/out" && tar -C "$work/out" -xf "$work/whole.tar" && find "$work/out" -type f -exec sync {} + ;;
  'skopeo copy back') skopeo copy -q --insecure-policy "oci-archive:$work/whole.tar:latest" "oci:$work/out:latest" && find "$work/out" -type f -exec sync {} + ;;
  'sha256sum of the archive') sha256sum "$work/whole.tar" ;;
  esac
}

# row TOOL: the shortest time of its rounds, and the ratio to the first row of its table.
row() {
  local least='' start took
  for _ in $(seq $rounds); do
    rm -rf "$work/out" "$work/out.tar"
    sync
    start=$(date +%s%N)
    as "$1" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
    took=$((($(date +%s%N) - start) / 1000000))
    if [ -z "$least" ] || [ "$took" -lt "$least" ]; then least=$took; fi
  done
  : "${first:=$least}"
  awk -v t="$1" -v a="$least" -v b="$first" 'BEGIN { printf "%-26s %8d %8.2f\n", t, a, a / b }'
}

build
make_cache
printf '%-26s %8s %8s   (%s MB in 8 layers, best of %s; ratios to ocicache)\n' '' ms ratio "$megabytes" "$rounds"
for tool in 'ocicache pack' 'tar cf' 'skopeo copy' 'regctl export' 'sha256sum'; do row "$tool"; done
"$bin/ocicache" pack "$cache" "$work/whole.tar" >/dev/null 2>&1
first=
for tool in 'ocicache unpack' 'tar xf' 'skopeo copy back' 'sha256sum of the archive'; do row "$tool"; done
