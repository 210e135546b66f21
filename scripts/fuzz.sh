#!/bin/bash
# Runs every fuzz target of the module, one after the other: scripts/fuzz.sh [TIME EACH]
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-30s}
found=0
# Some targets write and sync files: in memory they try a hundred times as many inputs.
[ -n "${TMPDIR:-}" ] || [ ! -w /dev/shm ] || export TMPDIR=/dev/shm
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz runs one target. On a busy machine go test takes its own deadline for a failure; then there is no failing input.
fuzz() {
  local status=0
  OCICACHE_TEST_WHOLE=1 go test -run '^$' -fuzz "^$2\$" -fuzzminimizetime 1x -fuzztime "$time" "$1" | tee "$log" || status=$?
  if [ "$status" != 0 ] && grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; then
    echo "== $2 ended late, and found nothing"
    return 0
  fi
  return "$status"
}

while read -r package; do
  while read -r target; do
    found=$((found + 1))
    echo "== $package $target ($time)"
    fuzz "$package" "$target"
  done < <(go test -list '^Fuzz' "$package" | sed -n '/^Fuzz/p')
done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)

if [ "$found" = 0 ]; then
  echo "fuzz: no targets found" >&2
  exit 1
fi
echo "== $found targets, nothing found"
