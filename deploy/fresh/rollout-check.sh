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
    touch "$HOLD/go" "$HOLD/stop" "$HOLD/end"
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
for node in $nodes; do said "$node: .* on eth0, 1 rules (had 1)"; done
for node in $nodes; do
    [ "$(on "$node" dpkg-query -W -f '\${Version}' vos-fastpath)" = "$(dpkg-deb -f "$later" Version)" ] || die "$node is not upgraded"
    [ "$(on "$node" vosctl list block | grep -c 203.0.113.0/24)" = 1 ] || die "$node has lost its rules"
done
# Back, as far as a node that cannot be reached.
! rollout "$package" sip-a || die "an older package is taken without a word"
said 'downgraded'
! rollout --downgrade "$package" sip-a gone sip-c || die "a node that is gone is none too few"
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

# What may go wrong with a node that has it already.
# A file that only the new version takes: here the one of before is no engine's at all. It goes out with the package, and there
# is one start.
starts() { on "$1" journalctl -u vos-engine@eth0 -o cat | grep -c '^Started '; }
on sip-b "mv /usr/sbin/vos-engine /usr/sbin/vos-engine.old; printf '#!/bin/sh\necho the old one knows no such key >&2; exit 78\n' >/usr/sbin/vos-engine; chmod +x /usr/sbin/vos-engine"
sed 's/^#verify_every = .*/verify_every = "10min"/' "$HOLD/vos.toml" >"$HOLD/new.toml"
was=$(starts sip-b)
rollout --config "$HOLD/new.toml" "$later" sip-b || { cat "$HOLD/said" >&2; die "a file that only the new version takes"; }
[ "$(starts sip-b)" = $((was + 1)) ] || die "the package and its file are not one start"
on sip-b grep -qx verify_every.*10min. /etc/vos/vos.toml || die "the file is not in place"
on sip-b grep -qx verify_every.*10min. /etc/vos/vos.toml.before && die "vos.toml.before is not the file of before"
# A start that fails: the file of before is in place again, and the engine at work.
on sip-b 'mkdir -p /run/systemd/system/vos-engine@.service.d; printf "[Service]\nExecStartPre=/bin/sh -c \"! grep -q 11min /etc/vos/vos.toml\"\nRestart=no\n" >/run/systemd/system/vos-engine@.service.d/fails.conf'
sed 's/10min/11min/' "$HOLD/new.toml" >"$HOLD/fails.toml"
! rollout --config "$HOLD/fails.toml" "$later" sip-b || die "an engine that does not start is as it should be"
said 'the one of before again'
on sip-b grep -qx verify_every.*10min. /etc/vos/vos.toml || die "the file of before is not put back"
[ "$(on sip-b systemctl is-active vos-engine@eth0)" = active ] || die "the engine does not run with the file of before"
on sip-b 'rm -r /run/systemd/system/vos-engine@.service.d; systemctl daemon-reload'
# An engine that does not say how it is.
on sip-b "printf '#!/bin/sh\ncase \" \$* \" in *\" stats \"*) exit 3 ;; esac\nexec /usr/sbin/vosctl \"\$@\"\n' >/usr/local/sbin/vosctl; chmod +x /usr/local/sbin/vosctl"
! rollout --check sip-b || die "queues that nobody tells of are live"
on sip-b rm /usr/local/sbin/vosctl
# Rules that a start has lost.
on sip-b 'mkdir -p /run/systemd/system/vos-engine@.service.d; printf "[Service]\nExecStartPre=+/bin/rm -f /var/lib/vos/eth0.redb\n" >/run/systemd/system/vos-engine@.service.d/loses.conf'
! rollout "$later" sip-b || die "lost rules are not noticed"
said 'had 1 rules for good by operators, and has 0'
on sip-b 'rm -r /run/systemd/system/vos-engine@.service.d; systemctl daemon-reload; vosctl block 203.0.113.0/24 --reason scanner' >/dev/null
# A package whose engine does not take the file that is there: the engine of before goes on, and that is said.
on sip-b "echo 'qeues = 4' >>/etc/vos/vos.toml"
! rollout "$later" sip-b || die "the engine of before is taken for the package's"
said 'the engine that runs is the one of before'
rollout --config "$HOLD/vos.toml" "$later" sip-b || { cat "$HOLD/said" >&2; die "the file that mends it"; }
# Whatever ended it, no file with passwords is left.
for node in $nodes; do
    left=$(on "$node" 'ls -d /tmp/tmp.* /var/lib/vos-rollout.* 2>/dev/null' || true)
    [ -z "$left" ] || die "$node: left of the roll-out: $left"
done
touch "$HOLD/end"
echo "rollout-check: three nodes rolled out, upgraded one after the other; all phones answered in time, the blocked scanner never"
