#!/bin/sh
# journey.sh zerocopy|copy QUEUES: in the guest, from peer0 through the engine on dut0 to a server and back: who registers
# and calls, a carrier whose OPTIONS the engine answers by the TX ring, a scanner, a blocked source and what is not SIP.
# Then, with zero-copy, killed.sh; at the end everything is taken away.
bind=$1 queues=$2
. ./checks.sh

watch_kernel
lay_wire "$queues"
vos-bench responder --listen 10.9.0.2:5060 --stats /tmp/server.json >/tmp/responder.log 2>&1 &
wait_for listening /tmp/responder.log $!
# Nobody is taken for dead, and nothing for an attack, because an emulated CPU stood still. Who is killed is known at once.
printf '[answer]\noptions = true\n[relay]\nheartbeat_timeout_ms = 10000\n[attack]\ndetect = false\n' >/tmp/vos.toml
start_engine "$queues" "$bind"
say "the engine is ready: $queues queues, $bind"
vosctl allow $carrier >/dev/null || fail "vosctl allow: $?"
vosctl block $blocked >/dev/null || fail "vosctl block: $?"

# --- all of them at once -----------------------------------------------------------------------------

snapshot before
sent_before=$sent
runs=
answered register $phones register 100 & runs="$runs $!"
call 25 12 & runs="$runs $!"
answered carrier $carrier options 100 & runs="$runs $!"
silent stranger $stranger options 50 & runs="$runs $!"
silent blocked $blocked register 20 & runs="$runs $!"
silent noise $noise garbage 30 & runs="$runs $!"
for run in $runs; do wait "$run" || exit 1; done

# Each packet is counted once, under its reason: what is in the counters is what the peer has sent, which was all SIP but
# for some ARP.
calls=$(figure datagrams /tmp/calls.json)
relayed=$((100 + calls))
for _ in $(seq 20); do
    snapshot after
    packets=$((sent - sent_before))
    arp=$((packets - relayed - 100 - 50 - 20 - 30))
    other=; [ $arp -eq 0 ] || other="not_ours=$arp "
    expected="blocked=20 malformed=30 ${other}redirected=$((relayed + 100)) stealth=50 "
    seen=$(grown before after)
    [ "$seen" != "$expected" ] || break
    sleep 0.2
done
expect "of $packets packets" "$expected" "$seen"

# What the workers did with theirs, and what the server has seen.
expect "received by workers" $((relayed + 100)) "$(of_workers received /tmp/after.json)"
expect "relayed" $relayed "$(of_workers relayed /tmp/after.json)"
expect "answered by the engine" 100 "$(of_workers answered /tmp/after.json)"
expect "sent by the TX ring" 100 "$(of_workers ring /tmp/after.json)"
for loss in dropped relay_errors socket_lost; do expect "$loss" 0 "$(of_workers $loss /tmp/after.json)"; done
# Its file is renewed ten times a second.
sleep 0.3
expect "from phones, at the server" $relayed "$(figure $phones /tmp/server.json)"
for source in $carrier $stranger $blocked $noise; do
    expect "from $source, at the server" "" "$(figure "$source" /tmp/server.json)"
done
expect "queues that packets came by" "$queues" "$(by_worker received /tmp/after.json | grep -vcx 0)"
say "$packets packets: ${expected}by queue: $(by_worker received /tmp/after.json | tr '\n' ' ')"

# --- these checks do fail ------------------------------------------------------------------------------

if [ "$bind" = copy ]; then other=zerocopy; else other=copy; fi
if (bound "$queues" $other) >/dev/null 2>&1; then fail "$bind passes for $other"; fi
vosctl rule stealth off >/dev/null || fail "vosctl rule: $?"
if (silent wrong $stranger options 5) >/dev/null 2>&1; then fail "a wrong verdict is not noticed"; fi
vosctl rule stealth enforce >/dev/null || fail "vosctl rule: $?"

[ "$bind" = copy ] || . ./killed.sh

# --- the end: nothing is left, and SIP goes on ---------------------------------------------------------

kill "$engine"
wait "$engine" || fail "the engine ended with status $?"
[ -n "$(attached)" ] || fail "the filter has not outlived the engine"
vos-engine unload --iface dut0 >/tmp/unload.log 2>&1 || fail "vos-engine unload: $?"
expect "XDP after unload" "" "$(attached)"
expect "pins after unload" "" "$(ls /sys/fs/bpf/vos)"
expect "TAPs after unload" "vos*" "$(cd /sys/class/net && echo vos*)"
reachable
answered unfiltered $stranger options 50
# The kernel gives programs back after a grace period; to look takes it seconds.
for _ in $(seq 5); do
    left=$(programs)
    [ "$left" != 0 ] || break
    sleep 1
done
expect "programs after unload" 0 "$left"

kernel_is_well
say "all is well on $(uname -r): $(grep -o 'the verifier walked.*' /tmp/engine.1.log)"
