# shellcheck shell=bash
# node.sh, for run.sh: one of rollout-check.sh's nodes. Writes its PID 1 into HOLD/NODE; from HOLD/go to HOLD/stop phones
# register there, and a blocked scanner tries to.

# shellcheck source=deploy/fresh/traffic.sh
. "$(dirname "$script")/traffic.sh"

serve
inside bash -c 'umask 077; mkdir -p ~/.ssh; cat >~/.ssh/authorized_keys' <"$HOLD/key.pub"
echo "$init" >"$HOLD/$NODE"
until_true 300 "go" test -e "$HOLD/go"
scan &
until_true 10 "the scanner is blocked" eval 'at=$(from_scanner); sleep 0.5; [ "$at" = "$(from_scanner)" ]'
before=$(from_scanner)
while [ ! -e "$HOLD/stop" ]; do
    phones during 2 || fail "phones: $?"
    expect "$NODE: phones without an answer" 0 $(($(figure sent "$mnt/during.json") - $(figure answered "$mnt/during.json")))
done
expect "$NODE: of the blocked scanner, at the server" "$before" "$(from_scanner)"
touch "$HOLD/$NODE.good"
