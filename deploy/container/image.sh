#!/usr/bin/env bash
# image.sh PROFILE   make the image vos-fastpath of static programs that are built (`make image` builds them)
#
# By docker, or podman, or what BUILDER says; nothing is fetched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

die() { echo "image: $*" >&2; exit 1; }

[ $# = 1 ] || die "usage: image.sh PROFILE"
bin=${STATIC_DIR:-target/static}/$(uname -m)-unknown-linux-gnu/$1 folder=target/container
for program in vos-engine vosctl; do
    [[ $(ldd "$bin/$program" 2>&1) == *'statically linked'* || $(ldd "$bin/$program" 2>&1) == *'not a dynamic'* ]] || die "$bin/$program is not there, or not static: make image"
done
builder=${BUILDER:-$(command -v docker || command -v podman)} || die "neither docker nor podman is here: apt install podman"
rm -rf $folder
mkdir -p $folder
strip -o $folder/vos-engine "$bin/vos-engine"
strip -o $folder/vosctl "$bin/vosctl"
cp configs/vos.toml $folder/
# No group vos: its number would be some other group's on the host, which could then use the API's socket.
echo 'root:x:0:' >$folder/group
# shellcheck disable=SC2086 # a program and its flags
$builder build --tag vos-fastpath --file deploy/container/Dockerfile $folder
