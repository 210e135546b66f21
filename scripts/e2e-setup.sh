#!/bin/bash
# Makes the programs that the end-to-end tests need:
#
#   runc, docker-registry from Debian, only with --install or CI=true, only if missing
#   buildkitd, buildctl   built from scripts/tools into .bin, only if not yet there
#
# Run it from anywhere: scripts/e2e-setup.sh [--install]
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/.bin
module=github.com/moby/buildkit

say() { echo "e2e-setup: $*"; }

install=${CI:-false}
case ${1:-} in
--install) install=true ;;
"") ;;
*) say "usage: $0 [--install]" >&2; exit 2 ;;
esac

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

missing=
for program in runc docker-registry; do # each is the name of its package, too
  if command -v "$program" >/dev/null; then
    say "$program: $(command -v "$program") is there"
  else
    missing="$missing $program"
  fi
done
if [ -n "$missing" ] && [ "$install" = true ]; then
  say "installing:$missing"
  $sudo apt-get update -q
  # shellcheck disable=SC2086 # several packages
  $sudo apt-get install -q -y --no-install-recommends $missing
elif [ -n "$missing" ]; then
  say "missing:$missing; install it, or run this script with --install" >&2
  exit 1
fi

version=$(go -C "$root/scripts/tools" list -m -f '{{.Version}}' "$module")
stamp=$bin/.buildkit-$version
if [ -f "$stamp" ] && [ -x "$bin/buildkitd" ] && [ -x "$bin/buildctl" ]; then
  say "BuildKit $version: $bin is up to date"
  exit 0
fi
say "BuildKit $version: building into $bin (minutes, the first time)"
mkdir -p "$bin"
rm -f "$bin"/.buildkit-*
go -C "$root/scripts/tools" build -o "$bin/" "$module/cmd/buildkitd" "$module/cmd/buildctl"
touch "$stamp"
say "BuildKit $version: built"
