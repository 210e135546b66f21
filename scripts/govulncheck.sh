#!/bin/bash
# Looks for known vulnerabilities in what the program really calls. The program that looks is pinned in scripts/tools; the
# database is https://vuln.go.dev, or a copy that GOVULNDB names (file:///DIR or https://HOST). Without one nothing was
# checked, which is said, and is a failure: status 1. Status 3 means that something was found.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=.bin/govulncheck
mkdir -p .bin
go -C scripts/tools build -o "$PWD/$bin" golang.org/x/vuln/cmd/govulncheck
"$bin" -version | sed -n '/^Scanner\|^Go:/p'

status=0
"$bin" -db "${GOVULNDB:-https://vuln.go.dev}" ./... || status=$?
if [ "$status" != 0 ] && [ "$status" != 3 ]; then
  {
    echo "**********************************************************************"
    echo "** NOTHING WAS CHECKED: govulncheck failed, or its database is out of"
    echo "** reach. Name a copy with GOVULNDB=file:///DIR, or run this where"
    echo "** ${GOVULNDB:-https://vuln.go.dev} can be reached."
    echo "**********************************************************************"
  } >&2
fi
exit "$status"
