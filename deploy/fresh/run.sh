#!/usr/bin/env bash
# run.sh WORKDIR SCRIPT [FILE...]   boot a fresh Debian 12 with systemd, and run SCRIPT beside it
#
# Namespaces, not a virtual machine: systemd is PID 1 of its own PID, mount, network, UTS, IPC and cgroup namespaces, on the
# root that root.sh makes, which a layer on top keeps as it is. FILE... lie in /srv. Its only interface is eth0, a veth; outside,
# where SCRIPT's `out` runs, the other end has 192.0.2.10 and 203.0.113.66.
#
# SCRIPT is sourced and has:   inside COMMAND...  inside, as root          out COMMAND...   at the other end of the wire
#                              beside COMMAND... inside's network, this machine's programs
# Exits 0 only if SCRIPT did. Needs root.
set -euo pipefail

die() { echo "fresh: $*" >&2; exit 1; }
say() { printf '[%3d s] %s\n' $((SECONDS - started)) "$*"; }

started=$SECONDS
[ $# -ge 2 ] || die "usage: run.sh WORKDIR SCRIPT [FILE...]"
[ "$EUID" = 0 ] || die "needs root"
mkdir -p "$1"
work=$(realpath "$1") script=$(realpath "$2")
shift 2

root=$work/root
[ -e "$root.done" ] || "$(dirname "${BASH_SOURCE[0]}")/root.sh" "$work"

mnt=$(mktemp -d) init=
# Not by the process: what one that was killed has left may have its number.
outside=vos-fresh-${mnt##*.}
clean() {
    # Whoever ends this while it cleans up gets it done all the same.
    trap '' INT TERM
    # With what SCRIPT has started at either end; and bash shall not tell of it.
    {
        [ -z "$init" ] || kill -KILL "$init" || true
        jobs -p | while read -r job; do pkill -KILL -P "$job" || true; kill -KILL "$job" || true; done
        wait || true
    } 2>/dev/null
    ip netns del "$outside" 2>/dev/null || true
    find "$mnt/cgroup/$outside" -depth -type d -exec rmdir {} + 2>/dev/null || true
    umount -l "$mnt/cgroup" "$mnt/layer" 2>/dev/null || true
    # What was killed may still be ending.
    rm -rf "$mnt" 2>/dev/null || { sleep 1; rm -rf "$mnt"; }
}
trap clean EXIT

mkdir "$mnt/cgroup" "$mnt/layer"
mount -t cgroup2 cgroup2 "$mnt/cgroup"
mkdir "$mnt/cgroup/$outside"
mount -t tmpfs tmpfs "$mnt/layer"
mkdir "$mnt/layer/"{upper,work,root}
mount -t overlay overlay -o "lowerdir=$root,upperdir=$mnt/layer/upper,workdir=$mnt/layer/work" "$mnt/layer/root"
layer=$mnt/layer/root
[ $# = 0 ] || cp "$@" "$layer/srv/"
echo fresh >"$layer/etc/hostname"
# What would act on the machine around it.
for unit in systemd-sysctl systemd-udevd systemd-modules-load systemd-binfmt console-getty getty@tty1; do
    ln -s /dev/null "$layer/etc/systemd/system/$unit.service"
done

# shellcheck disable=SC2016 # for the shell inside
(
    echo "$BASHPID" >"$mnt/cgroup/$outside/cgroup.procs"
    exec unshare --fork --kill-child --pid --mount --uts --ipc --net --cgroup --propagation private \
        bash -euc '
            cd "$0"
            mount -t proc proc proc
            mount -t sysfs sysfs sys
            mount -t cgroup2 cgroup2 sys/fs/cgroup
            mount -t bpf bpf sys/fs/bpf
            mount -t tmpfs -o mode=755 tmpfs run
            mount -t tmpfs tmpfs tmp
            mount -t tmpfs -o mode=755 tmpfs dev
            mkdir dev/net dev/pts dev/shm
            for node in null zero full random urandom tty net/tun; do
                touch dev/$node
                mount --bind /dev/$node dev/$node
            done
            mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
            ln -s pts/ptmx dev/ptmx
            hostname fresh
            mkdir run/old
            pivot_root . run/old
            umount -l run/old
            rmdir run/old
            exec env -i container=vos PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal-or-kmsg' "$layer" \
        </dev/null >"$work/boot.log" 2>&1
) &
boot=$!

# until_true SECONDS WHAT COMMAND...
until_true() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { cat "$work/boot.log" >&2; die "not in time: $what"; }
        sleep 0.05
    done
}
# The first child of unshare.
born() { init=$(pgrep -P "$boot") && [ "$(cat "/proc/$init/comm")" = systemd ]; }
until_true 20 "systemd starts" born

inside() { nsenter -t "$init" -a -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"; }
beside() { nsenter -t "$init" --net -- "$@"; }
out() { ip netns exec "$outside" "$@"; }
booted() { inside systemctl is-system-running | grep -E 'running|degraded' >/dev/null; }
until_true 60 "boot" booted

ip netns add "$outside"
ip -n "$outside" link add wire numrxqueues 2 numtxqueues 2 type veth peer name eth0 netns "$init" numrxqueues 2 numtxqueues 2
beside ip addr add 192.0.2.1/24 dev eth0
beside ip link set eth0 up
beside ip link set lo up
beside ip route add 203.0.113.0/24 dev eth0
out ip addr add 192.0.2.10/24 dev wire
out ip addr add 203.0.113.66/32 dev wire
out ip link set wire up
say "systemd $(inside systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p') is up"

# shellcheck source=/dev/null
. "$script"
say "done"
