# killed.sh: part of journey.sh. The engine is killed while calls come in, and started again: meanwhile the program stays,
# SIP takes the kernel's path, and then zero-copy is had again of a driver that has just lost it. Sourced.
# shellcheck shell=dash disable=SC2154 # variables of journey.sh and checks.sh

snapshot before
sent_before=$sent
program=$(attached)
# Calls come in all the time, whatever happens; each of them must succeed.
keep_calling() { until [ -e /tmp/enough ]; do call 12 4; cat /tmp/calls.json >>/tmp/all_calls; done; }
keep_calling & calling=$!
sleep 2
kill -9 "$engine"
wait "$engine"
say "killed"

# Its sockets are gone. From now on nothing is lost, and what is to be dropped still is.
sleep 1
expect "program after kill -9" "$program" "$(attached)"
expect "AF_XDP sockets after kill -9" "" "$(xsk_sockets)"
answered orphaned "$phones" register 50 & run=$!
silent intruder "$stranger" options 20
wait $run || exit 1
say "50 of 50 answered by the kernel's path, none of 20 from who is not allowed"

start_engine "$queues" "$bind"
say "the engine is back: $queues queues, $bind"
answered back "$phones" register 50
touch /tmp/enough
wait $calling || exit 1

of_calls() { grep -o "\"$1\":[0-9]*" /tmp/all_calls | awk -F: '{ sum += $2 } END { print sum }'; }
# The kernel's counters go on, those of the workers are new.
snapshot after
seen=$(grown before after)
for reason in $seen; do
    case $reason in
    kernel=* | redirected=* | not_ours=*) ;;
    stealth=20) stealth=seen ;;
    *) fail "counted over the restart: $seen" ;;
    esac
done
[ -n "$stealth" ] || fail "counted over the restart: $seen"
[ "$(echo "$seen" | grep -o 'kernel=[0-9]*' | cut -d= -f2)" -ge 50 ] || fail "not by the kernel's path: $seen"
[ "$(of_workers received /tmp/after.json)" -ge 50 ] || fail "fewer than 50 received"
expect "queues that packets came by" "$queues" "$(by_worker received /tmp/after.json | grep -vcx 0)"
for loss in dropped relay_errors socket_lost; do expect "$loss" 0 "$(of_workers $loss /tmp/after.json)"; done
counted=$(echo "$seen" | tr ' ' '\n' | awk -F= '{ sum += $2 } END { print sum }')
say "$(of_calls succeeded) calls, all of which succeeded, with $(of_calls retransmissions) retransmissions; of \
$((sent - sent_before)) packets $counted counted: $seen"
