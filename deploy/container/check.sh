#!/usr/bin/env bash
# check.sh PROFILE   make the image, and run it by podman as compose.yml says, with its capabilities and no others, on a veth
# between two namespaces: good traffic goes by the workers, a blocked source does not get through, also not when the container
# has gone. Needs root, podman, crun and BENCH=PATH of vos-bench.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Containers want one hierarchy of cgroups, as Debian has it.
if [ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ] && [ -z "${VOS_CGROUP:-}" ]; then
    VOS_CGROUP=mounted exec unshare --mount bash -c 'umount -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$0" "$@"' "$0" "$@"
fi

die() { echo "container: $*" >&2; [ -z "${id:-}" ] || podman logs "$id" >&2; exit 1; }
work=$(mktemp -d) name=vos-container-$$ iface=con$$
podman() { command podman --root "$work/root" --runroot "$work/run" --storage-driver vfs --cgroup-manager cgroupfs --runtime crun "$@"; }
clean() {
    podman rm --all --force --time 2 >/dev/null 2>&1 || true
    podman run --rm "${granted[@]}" vos-fastpath unload --iface "$iface" >/dev/null 2>&1 || true
    kill "${responder:-}" 2>/dev/null || true
    ip netns del "$name" 2>/dev/null || true
    ip netns del "$name-out" 2>/dev/null || true
    umount -l "$work/root" 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT

# What compose.yml and daemonset.yaml grant is one list.
list() { sed -n "s/^ *$1: *\[\(.*\)\].*/\1/p" "$2" | tr -d ' '; }
capabilities=$(list cap_add deploy/container/compose.yml)
[ -n "$capabilities" ] && [ "$capabilities" = "$(list add deploy/container/daemonset.yaml)" ] ||
    die "compose.yml and daemonset.yaml grant different capabilities"
# After a reboot, too: the engine ends well before one, so that on-failure would not do.
[ "$(sed -n 's/^    restart: //p' deploy/container/compose.yml | sort -u)" = unless-stopped ] || die "compose.yml: restart"
# What they have the image do, with this interface in place of theirs: arguments, and the probes, one and the same in all.
words() { sed -n "s/^ *$1[^[]*\[\(.*\)\].*/\1/p" "$2" | sed -e 's/\${IFACE[^}]*}\|\$(IFACE)/'"$iface/g" -e 's/"CMD", //' -e 's/[",]//g' | sort -u; }
arguments=$(words command: deploy/container/compose.yml) probe=$(words test: deploy/container/compose.yml)
[ -n "$arguments" ] && [ "$arguments" = "$(words args: deploy/container/daemonset.yaml)" ] || die "compose.yml and daemonset.yaml have different arguments"
[ -n "$probe" ] && [ "$probe" = "$(words exec: deploy/container/daemonset.yaml)" ] || die "compose.yml and daemonset.yaml have different probes"

BUILDER="podman --root $work/root --runroot $work/run --storage-driver vfs" deploy/container/image.sh "$1" >/dev/null
mkdir "$work/state" "$work/api"
granted=(--network "ns:/run/netns/$name" --read-only --cap-drop all --cap-add "$capabilities" --security-opt no-new-privileges --security-opt seccomp=unconfined
    --device /dev/net/tun --volume /sys/fs/bpf:/sys/fs/bpf --volume "$work/state:/var/lib/vos" --volume "$work/api:/run/vos"
    --cgroups disabled --ulimit nofile=4096:4096 --ulimit nproc=4096:4096)

ip netns add "$name"
ip netns add "$name-out"
ip -n "$name" link add "$iface" numrxqueues 2 numtxqueues 2 type veth peer name wire netns "$name-out" numrxqueues 2 numtxqueues 2
ip -n "$name" addr add 192.0.2.1/24 dev "$iface"
ip -n "$name" link set lo up
ip -n "$name" link set "$iface" up
ip -n "$name" route add 203.0.113.0/24 dev "$iface"
ip -n "$name-out" addr add 192.0.2.10/24 dev wire
ip -n "$name-out" addr add 203.0.113.66/32 dev wire
ip -n "$name-out" link set wire up
ip netns exec "$name" "$BENCH" responder --listen 192.0.2.1:5060 >/dev/null 2>"$work/responder.log" &
responder=$!

# answered SOURCE: how many of 50 REGISTERs
answered() {
    ip netns exec "$name-out" "$BENCH" load --to 192.0.2.1:5060 --from "$1" --kind register --rate 50 --seconds 1 --warmup 0 --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["answered"])'
}
# shellcheck disable=SC2086 # words
healthy() { podman exec "$id" $probe; }
# What others have left there, and one that goes on.
mkdir "$work/vos"
cp configs/vos.toml "$work/vos/"
python3 -c 'import socket, sys
for name in "gone", "other": socket.socket(socket.AF_UNIX).bind(f"{sys.argv[1]}/{name}.sock")' "$work/api"
# shellcheck disable=SC2086 # words
id=$(podman run --detach "${granted[@]}" --volume "$work/vos:/etc/vos:ro" vos-fastpath $arguments)
for _ in $(seq 200); do healthy >/dev/null 2>&1 && break; sleep 0.1; done
healthy >"$work/status" 2>&1 || die "it does not get healthy: $(cat "$work/status")"
podman logs "$id" 2>&1 | grep 'relay by re-entry' >/dev/null || die "no relay"
[ "$(stat -c %g "$work/api/$iface.sock")" = 0 ] || die "some group of the host may use the API's socket"
# An editor puts a new file in place of the old one.
sed 's/^#mode = "relay"$/mode = "relay"\nqeues = 4/' configs/vos.toml >"$work/vos/new"
mv "$work/vos/new" "$work/vos/vos.toml"
! podman exec "$id" /usr/sbin/vosctl --iface "$iface" reload >/dev/null 2>&1 || die "a new vos.toml is not seen"
cp configs/vos.toml "$work/vos/"
[ "$(answered 192.0.2.10)" = 50 ] || die "phones are not answered"
podman exec "$id" /usr/sbin/vosctl --iface "$iface" block 203.0.113.0/24 --reason test >/dev/null
[ "$(answered 203.0.113.66)" = 0 ] || die "a blocked source gets through"
podman stop --time 10 "$id" >/dev/null
# The host's groups, and so its group vos.
printf 'root:x:0:\nvos:x:4711:\n' >"$work/group"
# shellcheck disable=SC2086 # words
id=$(podman run --detach "${granted[@]}" --volume "$work/vos:/etc/vos:ro" --volume "$work/group:/etc/group:ro" vos-fastpath $arguments)
for _ in $(seq 200); do healthy >/dev/null 2>&1 && break; sleep 0.1; done
[ "$(stat -c %g "$work/api/$iface.sock")" = 4711 ] || die "the group that is granted may not use the API's socket"
podman stop --time 10 "$id" >/dev/null
[ "$(answered 192.0.2.10)" = 50 ] || die "phones are not answered while no container runs"
[ "$(answered 203.0.113.66)" = 0 ] || die "a blocked source gets through while no container runs"
podman run --rm "${granted[@]}" vos-fastpath unload --iface "$iface" | grep removed >/dev/null || die "nothing to unload"
[ "$(answered 203.0.113.66)" = 50 ] || die "it is still there after unload"
echo "container: $(podman image inspect --format '{{.Size}}' vos-fastpath | awk '{ printf "%d MiB", $1 / 1048576 }'); all as compose.yml has it"
