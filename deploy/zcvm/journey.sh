#!/bin/sh
# journey.sh zerocopy|copy: in the guest, requests from peer0 through the engine on dut0 to a server and back, then
# OPTIONS that the engine answers itself, by the TX ring.
# Exact counts, never packets a second: an emulated CPU is no measure of speed.
bind=$1
case $bind in zerocopy) flag=1 ;; *) flag=0 ;; esac

fail() {
    echo "FAIL: $*"
    echo "--- engine"; cat /tmp/engine.log
    echo "--- responder"; cat /tmp/responder.log
    echo "--- load"; cat /tmp/load.json
    echo "--- kernel"; dmesg | tail -n 20
    exit 1
}
# wait_for PATTERN FILE PID: up to 60 s; the verifier takes its time on an emulated CPU
wait_for() {
    for _ in $(seq 300); do
        grep -q -- "$1" "$2" && return
        kill -0 "$3" 2>/dev/null || break
        sleep 0.2
    done
    grep -q -- "$1" "$2" || fail "no '$1' in $2"
}
touch /tmp/engine.log /tmp/responder.log /tmp/load.json

/bin/ip netns add peer
/bin/ip link set peer0 netns peer
/bin/ip addr add 10.9.0.2/24 dev dut0
/bin/ip link set dut0 up
/bin/ip -n peer addr add 10.9.0.1/24 dev peer0
/bin/ip -n peer link set peer0 up
ethtool -L dut0 combined 1 2>/dev/null || true # one queue is what it has, or what it gets

vos-bench responder --listen 10.9.0.2:5060 >/tmp/responder.log 2>&1 &
wait_for listening /tmp/responder.log $!
printf '[answer]\noptions = true\n[rates.verified]\nall = "none"\noptions = "none"\n' >/tmp/vos.toml
vos-engine --config /tmp/vos.toml --iface dut0 --queues 1 --bind "$bind" --xdp native >/tmp/engine.log 2>&1 &
engine=$!
wait_for ready /tmp/engine.log $engine
grep -q "zerocopy=$flag" /tmp/engine.log || fail "the engine is not in $bind mode"

# load KIND: a hundred requests, each of which is answered
load() {
    /bin/ip netns exec peer vos-bench load --to 10.9.0.2:5060 --kind "$1" \
        --rate 50 --seconds 2 --warmup 0 --linger 5 --json >/tmp/load.json || fail "vos-bench load: $?"
    grep -q '"sent":100,' /tmp/load.json || fail "not 100 $1 sent"
    grep -q '"answered":100,' /tmp/load.json || fail "not 100 $1 answered"
}
load register

stats=$(vosctl stats --json) || fail "vosctl stats: $stats"
redirected=$(echo "$stats" | grep -o '"redirected": *[0-9]*' | head -n 1 | grep -o '[0-9]*$')
[ "${redirected:-0}" -ge 100 ] || fail "redirected: ${redirected:-none}, in $stats"

vosctl allow 10.9.0.1 || fail "vosctl allow: $?"
load options
stats=$(vosctl stats --json | tr -d ' \n')
echo "$stats" | grep -q '"sent":{[^}]*"ring":100[,}]' || fail "not 100 sent by the TX ring, in $stats"
echo "$stats" | grep -q '"answered":{[^}]*"answered":100[,}]' || fail "not 100 answered by the engine, in $stats"

kill $engine
wait $engine || fail "the engine ended with status $?"
grep 'zerocopy=\|verifier walked' /tmp/engine.log
echo "100 of 100 answered, $redirected redirected, $bind; then 100 by the TX ring"
