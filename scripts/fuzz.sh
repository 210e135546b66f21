#!/bin/bash
# Runs every fuzz target of the module, one after the other: scripts/fuzz.sh [TIME EACH]
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-30s}
found=0
while read -r package; do
  while read -r target; do
    found=$((found + 1))
    echo "== $package $target ($time)"
    go test -run '^$' -fuzz "^$target\$" -fuzzminimizetime 20x -fuzztime "$time" "$package"
  done < <(go test -list '^Fuzz' "$package" | sed -n '/^Fuzz/p')
done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)

if [ "$found" = 0 ]; then
  echo "fuzz: no targets found" >&2
  exit 1
fi
echo "== $found targets, nothing found"
