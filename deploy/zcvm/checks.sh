# checks.sh: what the guest's scripts have in common. Sourced; busybox' sh.
# Exact counts, never packets a second: an emulated CPU is no measure of speed.
# shellcheck shell=dash disable=SC2034 # variables for who sources it

fail() { echo "FAIL: $*"; exit 1; }
# What there is to read when something has failed; not in subshells, which inherit no trap.
trap '[ $? = 0 ] || show' EXIT
show() {
    for file in /tmp/*.log /tmp/*.json; do echo "--- $file"; cut -c 1-1000 "$file" | tail -n 30; done
    echo "--- kernel"; dmesg | tail -n 20
}
say() { echo "[guest $(cut -d. -f1 /proc/uptime) s] $*"; }

# expect WHAT EXPECTED SEEN
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', seen '$3'"; }

# wait_for PATTERN FILE PID: up to 240 s; the verifier takes half a minute on an emulated CPU of its own
wait_for() {
    for _ in $(seq 1200); do
        grep -q -- "$1" "$2" && return
        kill -0 "$3" 2>/dev/null || break
        sleep 0.2
    done
    grep -q -- "$1" "$2" || fail "no '$1' in $2"
}

# Lays the wire: dut0 with the softswitch behind it, and on the wire's other end a namespace of phones, a carrier and others
lay_wire() { # QUEUES
    /bin/ip netns add peer
    /bin/ip link set peer0 netns peer
    /bin/ip addr add 10.9.0.2/24 dev dut0
    # One queue is what virtio_net has, or gets. igb leaves UDP's ports out of its hash unless it is told otherwise.
    ethtool -L dut0 combined "$1" 2>/dev/null || [ "$1" = 1 ] || fail "dut0 has no $1 queues"
    [ "$1" = 1 ] || ethtool -N dut0 rx-flow-hash udp4 sdfn || fail "dut0 does not hash by UDP's ports"
    /bin/ip link set dut0 up
    # Multicast of IPv6 ends at igb's filter of addresses, before anybody can count it.
    in_peer sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6'
    for host in 1 3 4 5 6; do /bin/ip -n peer addr add 10.9.0.$host/24 dev peer0; done
    /bin/ip -n peer link set peer0 up
}
phones=10.9.0.1 carrier=10.9.0.3 stranger=10.9.0.4 blocked=10.9.0.5 noise=10.9.0.6
in_peer() { /bin/ip netns exec peer "$@"; }

# start_engine QUEUES zerocopy|copy: until it is ready, and bound so on each queue
start_engine() {
    start=$((${start:-0} + 1))
    log=/tmp/engine.$start.log
    vos-engine --config /tmp/vos.toml --iface dut0 --queues "$1" --bind "$2" --xdp native >$log 2>&1 &
    engine=$!
    wait_for 'dut0: ready' $log $engine
    bound "$1" "$2"
    reachable
}
# igb is reset by a program that comes or goes.
reachable() {
    for _ in $(seq 50); do in_peer ping -c 1 -W 1 10.9.0.2 >/dev/null && return; sleep 0.2; done
    fail "nothing comes through to dut0"
}

# bound QUEUES zerocopy|copy: by what the kernel told the engine, and tells ss where it can
bound() {
    local flag=0 queue wanted=
    [ "$2" = copy ] || flag=1
    grep -q "$1 queues, zerocopy=$flag" "$log" || fail "the engine has not $1 queues in $2 mode"
    for queue in $(seq 0 $(($1 - 1))); do wanted="$wanted qid:$queue,zc:$flag"; done
    # Not every kernel tells ss; those that grant zero-copy do.
    [ $flag = 1 ] || [ -n "$(xsk_sockets)" ] || return 0
    expect "AF_XDP sockets" "$wanted" "$(xsk_sockets)"
}
xsk_sockets() { ss --xdp --all --extended | grep -o 'qid:[0-9]*,zc:[01]' | sort | awk '{ printf " %s", $0 }'; }

# answered NAME SOURCE KIND COUNT: so many requests, 25 a second, each of which is answered; silent: none of which is.
# What came of them is in /tmp/NAME.json
answered() { load "$@" 10 "$4"; }
silent() { load "$@" 1 0; }
load() { # NAME SOURCE KIND COUNT PATIENCE ANSWERED
    in_peer vos-bench load --to 10.9.0.2:5060 --from "$2" --kind "$3" --rate 25 --linger "$5" \
        --seconds "$(awk "BEGIN { print $4 / 25 }")" --warmup 0 --json >"/tmp/$1.json" || fail "vos-bench load, $1: $?"
    expect "$1: sent" "$4" "$(figure sent "/tmp/$1.json")"
    expect "$1: answered" "$6" "$(figure answered "/tmp/$1.json")"
}
# call CALLS RATE: as many phones register, call, hang up, with RFC 3261's retransmissions; each must come to its end
call() {
    in_peer vos-bench call --to 10.9.0.2:5060 --from "$phones" --calls "$1" --rate "$2" --json >/tmp/calls.json ||
        fail "vos-bench call: $?"
    expect "calls that succeeded" "$1" "$(figure succeeded /tmp/calls.json)"
}

# figure KEY FILE: the first number of this name
figure() { grep -o "\"$1\":[0-9]*" "$2" | head -n 1 | cut -d: -f2; }
# of_workers KEY FILE: the sum of the workers' figures; by_worker: one after the other
of_workers() { by_worker "$1" "$2" | awk '{ sum += $1 } END { print sum + 0 }'; }
by_worker() {
    sed 's/.*"workers":\[//' "$2" | grep -o "\"$1\":\({[^}]*}\|[0-9]*\)" | grep -o ':[0-9]\+' | tr -d :
}

# snapshot NAME: what the engine has counted, in /tmp/NAME.json, and what the peer has sent, in $sent
snapshot() {
    vosctl stats --json >/tmp/stats || fail "vosctl stats: $(cat /tmp/stats)"
    tr -d ' \n' </tmp/stats >"/tmp/$1.json"
    # By the queue in front of the driver: virtio_net counts what has left when the next packet leaves.
    sent=$(/bin/tc -n peer -s qdisc show dev peer0 | sed -n 's/.*Sent.* \([0-9]*\) pkt .*/\1/p')
}
# grown BEFORE AFTER: name=count of the reasons that packets were counted under between two snapshots
grown() {
    reasons "$1" >/tmp/reasons
    reasons "$2" | awk 'NR == FNR { was[$1] = $2; next } $2 != was[$1] { print $1 "=" $2 - was[$1] }' /tmp/reasons - |
        sort | tr '\n' ' '
}
reasons() { grep -o '"reasons":{[^}]*}' "/tmp/$1.json" | sed 's/.*{//; s/}//' | tr -d '"' | tr ',:' '\n '; }

# Programs of ours that the kernel has, by the names it gives their code.
programs() {
    [ "$(cat /proc/sys/net/core/bpf_jit_kallsyms)" = 1 ] || fail "the kernel does not name programs"
    grep -o 'bpf_prog_[0-9a-f]*_vos_[a-z]*' /proc/kallsyms | sort -u | wc -l
}
# What is attached to the NIC.
attached() { /bin/ip link show dut0 | grep -o 'prog/xdp id [0-9]*'; }

# From here on: how an emulated machine boots, and what it thinks of its clocks, is not the question.
watch_kernel() { echo "$mark" >/dev/kmsg; }
mark="the test begins"
kernel_is_well() {
    dmesg >/tmp/kernel
    grep -q "$mark" /tmp/kernel || fail "the kernel has said more than its log holds"
    sed "1,/$mark/d" /tmp/kernel | grep -v clocksource |
        grep -E 'WARNING|BUG|refcount|Call Trace|timed out|Oops' >/tmp/trouble.log
    [ ! -s /tmp/trouble.log ] || fail "the kernel complains: $(head -n 1 /tmp/trouble.log)"
}
