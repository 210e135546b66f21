#!/bin/sh
# The far side: unpacks an archive into a layout, writes the receipt that goes back, and brings what is new to the registry there.
#
#   scripts/examples/mirror-in.sh /media/stick/2026-w05.tar ./mirror registry.internal/mirror
set -eu
archive=$1 mirror=$2 repository=$3

ocicache unpack "$archive" "$mirror" --receipt "$mirror.receipt.new"
mv "$mirror.receipt.new" "$mirror.receipt"

plan=$(mktemp)
trap 'rm -f "$plan"' EXIT
cat >"$plan" <<EOF
version: 1
defaults: {to: auto}
migrations:
  - source: oci:$mirror
    target: docker://$repository
EOF
ocicache migrate run "$plan" --state "$mirror.jsonl"
