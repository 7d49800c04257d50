#!/usr/bin/env bash
# rollout-check.sh WORKDIR PACKAGE LATER   docs/install.md, "Several nodes": three fresh nodes with sshd are rolled out, upgraded while phones register and a blocked
# scanner tries to get through, and what happens where a node, or a file, is not as it should be. Needs root, BENCH=PATH.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

die() { echo "rollout-check: $*" >&2; cat "$HOLD"/*.log >&2 2>/dev/null; exit 1; }
[ $# = 3 ] || { echo "usage: rollout-check.sh WORKDIR PACKAGE LATER" >&2; exit 2; }
work=$1 package=$2 later=$3 nodes="sip-a sip-b sip-c"
HOLD=$(mktemp -d)
export HOLD
clean() {
    touch "$HOLD/go" "$HOLD/stop"
    # They clean up behind themselves.
    jobs -p | xargs -r kill 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$HOLD"
}
trap clean EXIT

"$here/root.sh" "$work"
ssh-keygen -q -t ed25519 -N '' -f "$HOLD/key"
for node in $nodes; do
    NODE=$node "$here/run.sh" "$work" "$here/node.sh" >"$HOLD/$node.log" 2>&1 &
done
for node in $nodes; do
    for _ in $(seq 300); do [ -s "$HOLD/$node" ] && break; sleep 0.2; done
    [ -s "$HOLD/$node" ] || die "$node does not boot"
    cat >>"$HOLD/config" <<CONFIG
Host $node
    User root
    IdentityFile $HOLD/key
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ProxyCommand nsenter -t $(cat "$HOLD/$node") -a -- sh -c 'mkdir -p /run/sshd; exec /usr/sbin/sshd -i'
CONFIG
done
printf 'Host gone\n    ProxyCommand false\n' >>"$HOLD/config"
export SSH="ssh -F $HOLD/config"
# shellcheck disable=SC2086 # words
rollout() { "$here/../rollout.sh" "$@" >"$HOLD/said" 2>&1; }
said() { grep -- "$1" "$HOLD/said" >/dev/null || { cat "$HOLD/said" >&2; die "it does not say: $1"; }; }
on() { $SSH "$@"; }

# shellcheck disable=SC2086
rollout "$package" $nodes || { cat "$HOLD/said" >&2; die "the first roll-out"; }
for node in $nodes; do said "$node: .* on eth0"; done
on sip-a journalctl -u vos-engine@eth0 -o cat | grep 'mode monitor' >/dev/null || die "the first start enforces"

# From looking to enforcing, by one file for all.
on sip-a cat /etc/vos/vos.toml | sed 's/^mode = "monitor"/mode = "relay"/' >"$HOLD/vos.toml"
# shellcheck disable=SC2086
rollout --config "$HOLD/vos.toml" "$package" $nodes || { cat "$HOLD/said" >&2; die "the configuration"; }
for node in $nodes; do on "$node" vosctl block 203.0.113.0/24 --reason scanner >/dev/null; done

touch "$HOLD/go"
sleep 1
# shellcheck disable=SC2086
rollout "$later" $nodes || { cat "$HOLD/said" >&2; die "the upgrade"; }
for node in $nodes; do
    [ "$(on "$node" dpkg-query -W -f '\${Version}' vos-fastpath)" = "$(dpkg-deb -f "$later" Version)" ] || die "$node is not upgraded"
    [ "$(on "$node" vosctl list block | grep -c 203.0.113.0/24)" = 1 ] || die "$node has lost its rules"
done
# Back, as far as a node that cannot be reached.
! rollout "$package" sip-a gone sip-c || die "a node that is gone is none too few"
said 'gone: cannot be reached'
said 'done: sip-a; the others'
[ "$(on sip-c dpkg-query -W -f '\${Version}' vos-fastpath)" = "$(dpkg-deb -f "$later" Version)" ] || die "the node behind it was touched"
# A file that is wrong changes nothing.
(cat "$HOLD/vos.toml"; echo 'qeues = 4') >"$HOLD/bad.toml"
# shellcheck disable=SC2086
! rollout --config "$HOLD/bad.toml" "$later" $nodes || die "a bad file is taken"
said 'qeues'
said 'done: none'
on sip-a grep -q qeues /etc/vos/vos.toml && die "a bad file is in place"
# shellcheck disable=SC2086
rollout --check $nodes || { cat "$HOLD/said" >&2; die "the check"; }
touch "$HOLD/stop"
for node in $nodes; do
    for _ in $(seq 200); do [ -e "$HOLD/$node.good" ] && break; sleep 0.1; done
    [ -e "$HOLD/$node.good" ] || die "$node: phones or scanner"
done
echo "rollout-check: three nodes rolled out, upgraded one after the other; all phones answered, the blocked scanner never"
