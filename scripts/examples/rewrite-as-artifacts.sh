#!/bin/sh
# Rewrites the caches of repositories, where they are, as artifacts: the form that most registries take.
#
#   scripts/examples/rewrite-as-artifacts.sh registry.example.com/team/app-cache registry.example.com/team/web-cache
#
# No layer is read or sent, only manifests. Run it again at any time; STATE names the file that says what is done.
set -eu

plan=$(mktemp)
trap 'rm -f "$plan"' EXIT
cat >"$plan" <<EOF
version: 1
defaults: {to: artifact}
EOF

for repository in "$@"; do
  echo "docker://$repository docker://$repository"
done | ocicache migrate run "$plan" --pairs - --state "${STATE:-rewrite.jsonl}"
