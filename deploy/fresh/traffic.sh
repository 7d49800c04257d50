# shellcheck shell=bash
# traffic.sh: a SIP server behind eth0, phones and a scanner outside, for scripts of run.sh. Needs BENCH=PATH of vos-bench.

phone=192.0.2.10 scanner=203.0.113.66 server=192.0.2.1

fail() {
    inside systemctl status vos-engine@eth0 --no-pager >&2 || true
    inside journalctl -u vos-engine@eth0 --no-pager -n 40 >&2 || true
    die "$*"
}
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', seen '$3'"; }
dropped() { inside vosctl --iface eth0 --json stats | python3 -c 'import json, sys; print(json.load(sys.stdin)["reasons"].get(sys.argv[1], 0))' "$1"; }
# The scanner's packets arrive, and end at the card.
blocked() { local before; before=$(dropped blocked); sleep 0.2; [ "$(dropped blocked)" -gt "$before" ]; }

# The SIP server, and a phone that goes on registering while things happen: nobody may hear of them.
serve() {
    beside "$BENCH" responder --listen $server:5060 --stats "$mnt/server.json" >"$mnt/responder.log" 2>&1 &
    until_true 10 "the SIP server listens" grep -q . "$mnt/server.json"
}
phones() { # NAME SECONDS
    out "$BENCH" load --to $server:5060 --from $phone --kind register --rate 50 --seconds "$2" --warmup 0 --repeat --linger 10 \
        --json >"$mnt/$1.json"
}
# all_answered WHAT NAME: each of these was, and nobody had to ask more than twice: phones do so after 0.5 s and again after
# 1.5 s, so a server that was away for longer than README.md promises is not taken for one that was there
all_answered() {
    python3 - "$mnt/$2.json" <<'REPORT' >"$mnt/figures" 2>&1 || fail "$1: phones: $(cat "$mnt/figures")"
import json, sys
report = json.load(open(sys.argv[1]))
sent, answered, longest = report["sent"], report["answered"], report["rtt"]["max"] / 1e6
if not sent == answered == report["rtt"]["count"] > 0 or not 0 < longest < 1.5:
    sys.exit(f"{answered} of {sent} answered, the last after {longest:.2f} s")
print(f"{sent} phones answered, each within {longest:.2f} s")
REPORT
}
# The scanner sends all the while; what came of it is in the server's book.
scan() { out "$BENCH" load --to $server:5060 --from $scanner --kind register --rate 50 --seconds 3600 --warmup 0 --json >/dev/null; }
from_scanner() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["sources"].get(sys.argv[2], 0))' "$mnt/server.json" $scanner; }
