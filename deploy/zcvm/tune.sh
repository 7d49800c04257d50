#!/bin/sh
# tune.sh   in the guest: vosctl tune on a card with rings, RSS and interrupts of its own, as ethtool and /proc show it
set -u
iface=dut0
state=/tmp/state

fail() { echo "guest: FAILED: $*"; exit 1; }

# All that a profile may touch, but for rules: in the words of others.
seen() {
    for letter in k l g c x; do ethtool -$letter $iface 2>&1; done
    for flow in udp4 udp6; do ethtool -n $iface rx-flow-hash $flow 2>&1; done
    ethtool -n $iface 2>&1
    cd /sys/class/net/$iface && grep . napi_defer_hard_irqs gro_flush_timeout
    for irq in $(ls device/msi_irqs 2>/dev/null); do echo "irq $irq $(cat /proc/irq/$irq/smp_affinity_list)"; done
    cd /proc/sys/net/core && grep . busy_poll busy_read rmem_max rmem_default wmem_max netdev_max_backlog \
        netdev_budget netdev_budget_usecs
    cd /test
}

tune() { vosctl --iface $iface tune --state-dir $state "$@"; }

ip link set $iface up
sleep 2
# a table that somebody has set, and that no profile wants
ethtool -X $iface weight 3 1 2>/dev/null && echo "guest: a table of its own"
seen >/tmp/before
cat /tmp/before /proc/interrupts
for profile in throughput low-latency vm laptop; do
    echo "guest: $profile"
    tune $profile || fail "$profile: exit code $?"
    tune $profile >/tmp/again || fail "$profile a second time: $(cat /tmp/again)"
    ! grep -q '^  done' /tmp/again || fail "$profile a second time does something: $(cat /tmp/again)"
    tune >/tmp/drift || fail "$profile: drift at once: $(cat /tmp/drift)"
    [ $profile = vm ] && continue # laptop goes over it
    tune --revert || fail "revert of $profile"
    seen >/tmp/after
    diff /tmp/before /tmp/after || fail "$profile does not go back as it was"
done
# killed, wherever it is
for delay in 0.05 0.1 0.2 0.3 0.5 0.8 1.2; do
    # not by a function, which would be a shell of its own
    vosctl --iface $iface tune --state-dir $state laptop >/tmp/killed 2>&1 &
    sleep $delay
    kill -9 $! 2>/dev/null
    wait $! && echo "guest: done before $delay s"
    # an ethtool that was at work ends first
    for _ in $(seq 50); do
        tune --revert >/tmp/back 2>&1
        code=$?
        grep -q 'is at work' /tmp/back || break
        sleep 0.1
    done
    [ $code = 0 ] || fail "revert after $delay s: $(cat /tmp/back)"
    echo "guest: killed after $delay s, $(grep -c '^  done' /tmp/back) put back"
    seen >/tmp/after
    diff /tmp/before /tmp/after || fail "killed after $delay s, it does not go back as it was: $(cat /tmp/back)"
done
# what --dry-run prints does the same; what this driver turns out not to have is a line that fails
tune throughput --dry-run >/tmp/script || fail "dry run"
seen >/tmp/after
diff /tmp/before /tmp/after || fail "a dry run is none"
cat /tmp/script
sh /tmp/script
tune throughput >/tmp/again || fail "after the script: $(cat /tmp/again)"
! grep -q '^  done' /tmp/again || fail "the script has not done it all: $(cat /tmp/again)"
echo "guest: all as it was"
