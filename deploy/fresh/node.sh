# shellcheck shell=bash
# node.sh, for run.sh: one of rollout-check.sh's nodes, until HOLD/end. Writes its PID 1 into HOLD/NODE; from HOLD/go to
# HOLD/stop phones register there, and a blocked scanner tries to.

# shellcheck source=deploy/fresh/traffic.sh
. "$(dirname "$script")/traffic.sh"

serve
inside bash -c 'umask 077; mkdir -p ~/.ssh; cat >~/.ssh/authorized_keys' <"$HOLD/key.pub"
echo "$init" >"$HOLD/$NODE"
until_true 300 "go" test -e "$HOLD/go"
scan &
until_true 10 "the scanner is blocked" blocked
before=$(from_scanner)
while [ ! -e "$HOLD/stop" ]; do
    phones during 2 || fail "phones: $?"
    all_answered "$NODE" during
done
expect "$NODE: of the blocked scanner, at the server" "$before" "$(from_scanner)"
touch "$HOLD/$NODE.good"
until_true 600 "end" test -e "$HOLD/end"
