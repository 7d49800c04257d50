# shellcheck shell=bash
# traffic.sh: a SIP server behind eth0, phones and a scanner outside, for scripts of run.sh. Needs BENCH=PATH of vos-bench.

phone=192.0.2.10 scanner=203.0.113.66 server=192.0.2.1

fail() {
    inside systemctl status vos-engine@eth0 --no-pager >&2 || true
    inside journalctl -u vos-engine@eth0 --no-pager -n 40 >&2 || true
    die "$*"
}
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', seen '$3'"; }
figure() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2], 0))' "$2" "$1"; }

# The SIP server, and a phone that goes on registering while things happen: nobody may hear of them.
serve() {
    beside "$BENCH" responder --listen $server:5060 --stats "$mnt/server.json" >"$mnt/responder.log" 2>&1 &
    responder=$!
    until_true 10 "the SIP server listens" grep -q . "$mnt/server.json"
}
phones() { # NAME SECONDS
    out "$BENCH" load --to $server:5060 --from $phone --kind register --rate 50 --seconds "$2" --warmup 0 --repeat --linger 10 \
        --json >"$mnt/$1.json"
}
# The scanner sends all the while; what came of it is in the server's book.
scan() { out "$BENCH" load --to $server:5060 --from $scanner --kind register --rate 50 --seconds 3600 --warmup 0 --json >/dev/null; }
from_scanner() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["sources"].get(sys.argv[2], 0))' "$mnt/server.json" $scanner; }
