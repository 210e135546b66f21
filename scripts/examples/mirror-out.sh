#!/bin/sh
# The near side of a mirror over an air gap, once a week: brings what is new in repositories to a layout, and packs what the far
# side lacks into one archive.
#
#   scripts/examples/mirror-out.sh plan.yaml ./mirror /media/stick/2026-w05.tar
#
# The plan's targets are tags in the layout, such as oci:mirror:app-{tag}. The receipt that the far side wrote last time, if it came back,
# lies beside the layout as mirror.receipt.
set -eu
plan=$1 mirror=$2 archive=$3

ocicache migrate run "$plan" --state "$mirror.jsonl"

if [ -e "$mirror.receipt" ]; then
  ocicache pack "$mirror" "$archive" --have "$mirror.receipt"
else
  ocicache pack "$mirror" "$archive"
fi
