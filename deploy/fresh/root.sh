#!/usr/bin/env bash
# root.sh WORKDIR   a fresh Debian 12 with systemd in WORKDIR/root, unless it is there already. Needs root and debootstrap.
set -euo pipefail

[ $# = 1 ] || { echo "usage: root.sh WORKDIR" >&2; exit 1; }
mkdir -p "$1"
work=$(realpath "$1")
# What the package depends on has to be in it: run.sh boots it without a network to fetch that by.
with=systemd,systemd-sysv,dbus,adduser,iproute2,ethtool,libelf1,zlib1g,man-db,procps,openssh-server
# One of another list is none.
[ "$(cat "$work/root.done" 2>/dev/null)" != $with ] || exit 0
rm -rf "$work/root" "$work/root.done"
debootstrap --variant=minbase --include=$with \
    bookworm "$work/root" >"$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log" >&2; exit 1; }
echo $with >"$work/root.done"
