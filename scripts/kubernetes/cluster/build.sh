#!/bin/bash
# Builds what a Kubernetes cluster runs, from the module proxy, unless it is there already, and prints the directory: etcd, Kubernetes and kubectl
# as one binary, containerd, its shim and ctr. Takes ten minutes on two processors, 3.5 GiB of memory, and 6 GB of Go's caches.
#
#   build.sh            build
#   build.sh --cached   print the directory, and fail where it isn't there
set -euo pipefail
cd "$(dirname "$0")"

unset GOWORK GOTOOLCHAIN
export GOFLAGS="-buildvcs=false ${GOFLAGS:-}" CGO_ENABLED=0 GOOS=linux
sources=(build.sh kube/{go.mod,go.sum,main.go} containerd/{go.mod,go.sum})
sum=$({ sha256sum "${sources[@]}"; go env GOVERSION GOARCH; } | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ocicache/kubernetes
dir=$cache/$sum

if [ -d "$dir" ]; then
  echo "$dir"
  exit
fi
[ "${1:-}" != --cached ] || { echo "$dir: not built yet" >&2; exit 1; }

version() { # DIRECTORY MODULE
  go -C "$1" list -m -f '{{.Version}}' "$2"
}

mkdir -p "$cache"
new=$(mktemp -d "$cache/.new-XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 130' INT TERM

kubernetes=$(version kube k8s.io/kubernetes)
component=k8s.io/component-base/version client=k8s.io/client-go/pkg/version # what the kubelet tells the apiserver
IFS=. read -r major minor _ <<<"${kubernetes#v}"
echo "Kubernetes $kubernetes" >&2
nice -n 10 go -C kube build -trimpath -o "$new/kube" -ldflags "-s -w \
  -X $component.gitVersion=$kubernetes -X $component.gitMajor=$major -X $component.gitMinor=$minor -X $client.gitVersion=$kubernetes" .
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
  ln -s kube "$new/$name"
done

containerd=github.com/containerd/containerd/v2
echo "containerd $(version containerd $containerd)" >&2
nice -n 10 go -C containerd build -trimpath -o "$new/" -ldflags "-s -w -X $containerd/version.Version=$(version containerd $containerd)" \
  $containerd/cmd/containerd $containerd/cmd/containerd-shim-runc-v2 $containerd/cmd/ctr

chmod 755 "$new"
mv -T "$new" "$dir"
for old in "$cache"/*/; do # those of other versions
  [ "$old" = "$dir/" ] || rm -rf "$old"
done
echo "$dir"
