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
# shellcheck source=scripts/peers-common.sh
. "$root/scripts/peers-common.sh"
host=127.0.0.1:5055
cache=$work/cache

registry=
trap 'if [ -n "$registry" ]; then kill "$registry"; fi; rm -rf "$work"' EXIT

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
