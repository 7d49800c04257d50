# shellcheck shell=bash
# journey.sh, for run.sh: the package on a fresh machine as docs/install.md has it, and what crashes, hangs, bad
# configurations, an upgrade and a removal do to a filter that is in force. FILE...: the package, then one of a later
# version. Needs BENCH=PATH of vos-bench.

deb=$(basename "$1") later=$(basename "$2")
# shellcheck source=deploy/fresh/traffic.sh
. "$(dirname "$script")/traffic.sh"

property() { inside systemctl show -P "$1" vos-engine@eth0; }
is() { [ "$(property "$1")" = "$2" ]; }

# undisturbed WHAT SECONDS COMMAND...: while COMMAND runs, and for so many seconds in all, each phone is answered in time and
# the blocked scanner never
undisturbed() {
    local what=$1 seconds=$2 before
    shift 2
    before=$(from_scanner)
    phones during "$seconds" &
    local calls=$!
    sleep 0.5
    "$@"
    wait "$calls" || fail "$what: phones: $?"
    all_answered "$what" during
    expect "$what: of the blocked scanner, at the server" "$before" "$(from_scanner)"
    say "$what: $(cat "$mnt/figures"), the blocked scanner never"
}

# follow PAGE WORD: the blocks of docs/PAGE whose fence says `sh WORD`, in order, as they stand
follow() {
    local number=0 block
    while IFS= read -r -d '' block; do
        number=$((number + 1))
        inside bash -euc "cd /srv; $block" >"$mnt/block.log" 2>&1 </dev/null || {
            cat "$mnt/block.log" >&2
            fail "block $number of docs/$1: $block"
        }
    done < <(python3 -c 'import re, sys; [print(block, end="\0") for block in re.findall(rf"^```sh {sys.argv[2]}\n(.*?)^```$", open(sys.argv[1]).read(), re.M | re.S)]' "docs/$1" "$2")
    [ $number -gt 0 ] || die "docs/$1 has no blocks to follow"
    say "docs/$1: $number blocks followed"
}

# --- as docs/install.md has it -----------------------------------------------------------------------------

serve
mv "$layer/srv/$deb" "$layer/srv/vos-fastpath.deb"
# A scanner is there while they are followed, as always.
scan &
follow install.md fresh

# --- what the unit promises ----------------------------------------------------------------------------------

expect "mode" 1 "$(inside journalctl -u vos-engine@eth0 -o cat | grep -c 'mode relay')"
inside vosctl block 203.0.113.0/24 --reason "scanner" >/dev/null
until_true 10 "the scanner's packets are dropped" blocked

# Rights: what workers may still do, and what the unit leaves to anybody in there.
pid=$(property MainPID) workers=0 filters='' confined=''
for task in $(inside ls "/proc/$pid/task"); do
    status=$(inside cat "/proc/$pid/task/$task/status") || continue
    has() { awk -v name="$1:" '$1 == name { print $2 }' <<<"$status"; }
    case $(has Name) in
    vos-queue-*)
        workers=$((workers + 1)) filters=$(has Seccomp_filters)
        expect "a worker's capabilities" 0000000000000000 "$(has CapPrm)"
        ;;
    vos-api)
        confined=$(has Seccomp_filters)
        expect "capabilities of the API" 0000000000000000 "$(has CapPrm)"
        ;;
    esac
done
expect "workers, one for each queue" 2 $workers
[ "$confined" -gt "$filters" ] || fail "threads of the API have no filter of their own inside the unit's"
! inside journalctl -u vos-engine@eth0 -o cat | grep 'threads of the API' || fail "the unit keeps the API from confining itself"
inside systemd-analyze security --no-pager --threshold=40 vos-engine@eth0 >"$mnt/security.log" || fail "$(tail -1 "$mnt/security.log")"

# Who may ask: root, and group vos.
inside setpriv --reuid nobody --regid vos --clear-groups vosctl status >/dev/null || fail "group vos cannot ask the engine"
! inside setpriv --reuid nobody --regid nogroup --clear-groups vosctl status >/dev/null 2>&1 || fail "anybody can ask the engine"

undisturbed "restart" 4 inside systemctl restart vos-engine@eth0

killed() {
    inside systemctl kill -s KILL vos-engine@eth0
    until_true 10 "it comes back" is NRestarts 1
    until_true 10 "it is ready" is ActiveState active
}
undisturbed "killed" 5 killed

hangs() {
    inside kill -STOP "$(property MainPID)"
    until_true 40 "the watchdog ends it" is NRestarts 2
    until_true 10 "it is ready" is ActiveState active
    inside journalctl -u vos-engine@eth0 -o cat | grep 'Watchdog timeout' >/dev/null || fail "it was something else than the watchdog"
}
undisturbed "hung" 14 hangs

# A bad file: a reload changes nothing, a start is tried once and not again, and the filter stays in force.
bad_file() {
    inside cp -a /etc/vos/vos.toml /srv/good.toml
    inside bash -c 'echo "qeues = 4" >>/etc/vos/vos.toml'
    ! inside systemctl reload vos-engine@eth0 2>/dev/null || fail "a reload of a bad file succeeds"
    expect "after the reload" active "$(property ActiveState)"
    ! inside systemctl restart vos-engine@eth0 2>/dev/null || fail "a start with a bad file succeeds"
    until_true 10 "it gives up" is ActiveState failed
    expect "exit status" 78 "$(property ExecMainStatus)"
    # Longer than RestartSec=.
    sleep 2
    expect "tries" "failed, 0 restarts" "$(property ActiveState), $(property NRestarts) restarts"
    inside journalctl -u vos-engine@eth0 -o cat -n 30 | grep qeues >/dev/null || fail "the log does not name the key"
    inside cp -a /srv/good.toml /etc/vos/vos.toml
    inside systemctl reset-failed vos-engine@eth0
    inside systemctl start vos-engine@eth0
}
undisturbed "bad file" 7 bad_file

# --- tuning, as docs/tuning.md has it, and by the unit ---------------------------------------------------------

# While an engine is at work, the card is not reset.
inside systemctl stop vos-engine@eth0
follow tuning.md tune
polls() { inside cat /sys/class/net/eth0/napi_defer_hard_irqs; }
untuned=$(polls)
tune_property() { inside systemctl show -P "$1" "vos-tune@$2"; }
tune_is() { [ "$(tune_property "$1" "$2")" = "$3" ]; }
inside bash -c 'echo PROFILE=throughput >/etc/vos/tune.eth0'
inside systemctl enable --quiet --now vos-tune@eth0
tuned=$(polls)
[ "$tuned" != "$untuned" ] || fail "vos-tune@eth0 has set nothing"
# Another one.
inside bash -c 'printf "summary = \"ours\"\n[interface]\nnapi_defer_hard_irqs = 7\ngro_flush_timeout = 50000\n" >/srv/site.toml; echo PROFILE=/srv/site.toml >/etc/vos/tune.eth0'
inside systemctl reload vos-tune@eth0
expect "polls before interrupts, after the reload" 7 "$(polls)"
inside systemctl disable --quiet --now vos-tune@eth0
expect "polls before interrupts, after vos-tune@eth0" "$untuned" "$(polls)"
# A bad profile is tried once.
inside bash -c 'echo PROFILE=thruput >/etc/vos/tune.eth0'
! inside systemctl start vos-tune@eth0 2>/dev/null || fail "a profile that there is not is taken"
sleep 1
expect "a bad profile" "failed, 0 restarts" "$(tune_property ActiveState eth0), $(tune_property NRestarts eth0) restarts"
inside systemctl reset-failed vos-tune@eth0
inside systemctl start vos-engine@eth0
# Beside an engine some of it is held back: the rest is set, and taken back.
inside bash -c 'echo PROFILE=throughput >/etc/vos/tune.eth0'
inside systemctl enable --quiet --now vos-tune@eth0
inside journalctl -u vos-tune@eth0 -o cat -n 30 | grep '  held ' >/dev/null || fail "nothing is held back beside an engine"
expect "vos-tune@eth0, some of it held back" active "$(tune_property ActiveState eth0)"
expect "polls before interrupts, some of it held back" "$tuned" "$(polls)"
inside systemctl reload vos-tune@eth0
inside systemctl disable --quiet --now vos-tune@eth0
expect "polls before interrupts, after one that was held back in part" "$untuned" "$(polls)"

# An interface that comes after its units: it is tuned, then the engine starts.
inside bash -c 'echo PROFILE=throughput >/etc/vos/tune.late-0'
inside systemctl start --no-block vos-tune@late-0 vos-engine@late-0
until_true 30 "no interface yet" tune_is NRestarts late-0 1
beside ip link add late-0 numrxqueues 2 numtxqueues 2 type veth peer name late-1 numrxqueues 2 numtxqueues 2
beside ip link set late-0 up
until_true 60 "the engine on an interface that came late" inside systemctl is-active vos-engine@late-0
expect "vos-tune@late-0" active "$(tune_property ActiveState late-0)"
! inside journalctl -u vos-tune@late-0 -o cat | grep '  held ' >/dev/null || fail "the engine started before the interface was tuned"
inside systemctl stop vos-engine@late-0 vos-tune@late-0
# One that is brought up late: many drivers have no interrupts before.
inside cp /etc/vos/tune.late-0 /etc/vos/tune.late-1
inside systemctl start --no-block vos-tune@late-1
until_true 10 "waiting for late-1 to be up" tune_is SubState late-1 start-pre
sleep 1
expect "vos-tune@late-1 while it is down" start-pre "$(tune_property SubState late-1)"
beside ip link set late-1 up
until_true 10 "late-1 is tuned" tune_is ActiveState late-1 active
inside systemctl stop vos-tune@late-1
# Two at a time, as at boot.
for _ in 1 2 3; do
    inside systemctl start vos-tune@late-0 vos-tune@late-1
    for end in late-0 late-1; do
        expect "vos-tune@$end beside another" "active, 0 restarts" "$(tune_property ActiveState $end), $(tune_property NRestarts $end) restarts"
        expect "polls before interrupts on $end" "$tuned" "$(inside cat /sys/class/net/$end/napi_defer_hard_irqs)"
    done
    inside systemctl stop vos-tune@late-0 vos-tune@late-1
    for end in late-0 late-1; do
        expect "polls before interrupts on $end, afterwards" "$untuned" "$(inside cat /sys/class/net/$end/napi_defer_hard_irqs)"
    done
done
inside vos-engine unload --iface late-0 >/dev/null
inside rm /etc/vos/tune.late-0 /etc/vos/tune.late-1
beside ip link del late-0

# --- somebody else's program -------------------------------------------------------------------------------------

# Whose name is not for the engine as the unit starts it.
inside systemctl stop vos-engine@eth0
inside mv /sys/fs/bpf/vos/eth0/xdp_program /sys/fs/bpf/foreign
inside vos-engine unload --iface eth0 >/dev/null
inside ip link set dev eth0 xdpgeneric pinned /sys/fs/bpf/foreign
foreign=$(inside ip -d link show eth0 | sed -n 's/.*prog\/xdp id \([0-9]*\).*/\1/p')
! inside systemctl start vos-engine@eth0 2>/dev/null || fail "somebody else's program is replaced"
inside journalctl -u vos-engine@eth0 -o cat -n 30 | grep "bpftool prog show id $foreign" >/dev/null || fail "it does not say how to see whose program is there"
expect "somebody else's program" "$foreign" "$(inside ip -d link show eth0 | sed -n 's/.*prog\/xdp id \([0-9]*\).*/\1/p')"
inside ip link set dev eth0 xdpgeneric off
inside rm /sys/fs/bpf/foreign
inside systemctl reset-failed vos-engine@eth0
inside systemctl start vos-engine@eth0

# --- an upgrade, a removal ------------------------------------------------------------------------------------

inside bash -c 'echo "# ours" >>/etc/vos/vos.toml'
upgrade() { inside apt-get install -y --reinstall "/srv/$later" >"$mnt/apt.log" 2>&1 || { cat "$mnt/apt.log" >&2; fail "upgrade"; }; }
runs() { inside readlink "/proc/$(property MainPID)/exe"; }

# To a version that does not take the file: the engine goes on, until the file is mended.
inside cp -a /etc/vos/vos.toml /srv/good.toml
inside bash -c 'echo "qeues = 4" >>/etc/vos/vos.toml'
was=$(property MainPID)
undisturbed "upgrade beside a bad file" 12 upgrade
expect "the engine beside a bad file" "active, $was" "$(property ActiveState), $(property MainPID)"
expect "its program" "/usr/sbin/vos-engine (deleted)" "$(runs)"
expect "the package" "install ok installed $(dpkg-deb -f "$layer/srv/$later" Version)" "$(inside dpkg-query -W -f '${Status} ${Version}' vos-fastpath)"
grep qeues "$mnt/apt.log" >/dev/null || fail "the upgrade does not name the key"
grep 'systemctl restart vos-engine@eth0' "$mnt/apt.log" >/dev/null || fail "the upgrade does not say what to do"
inside cp -a /srv/good.toml /etc/vos/vos.toml
undisturbed "restart after the upgrade" 4 inside systemctl restart vos-engine@eth0
expect "its program" /usr/sbin/vos-engine "$(runs)"

was=$(property MainPID)
undisturbed "upgrade" 12 upgrade
[ "$(property MainPID)" != "$was" ] || fail "the upgrade leaves the engine of before"
expect "its program" /usr/sbin/vos-engine "$(runs)"
inside grep -q '^# ours' /etc/vos/vos.toml || fail "the upgrade has replaced the configuration"
expect "rules after the upgrade" 1 "$(inside vosctl list block | grep -c 203.0.113.0/24)"
expect "the engine after the upgrade" active "$(property ActiveState)"

# --- an attack, as it is seen in the page and in Grafana's panels ------------------------------------------------

# docs/page.md, docs/watching.md; and OpenSIPS' own socket, as its example has it.
inside useradd --system --no-create-home opensips
sed -n 's|^#   \([da]+* */run/vos/opensips .*\)|\1|p' "$layer/usr/share/vos/opensips/pike-datagram.cfg" >"$layer/etc/tmpfiles.d/vos-opensips.conf"
inside systemd-tmpfiles --create vos-opensips.conf
sed -i -e 's|^\[api\]$|&\nlisten = "127.0.0.1:9060"\ntoken_file = "/etc/vos/token"\nallow = ["127.0.0.1/32"]|' \
    -e 's|^\[datagram_feed\]$|&\nlisten = "unix:/run/vos/opensips/events.sock"|' \
    -e 's|^\[page\]$|&\nlisten = "127.0.0.1:9960"|' "$layer/etc/vos/vos.toml"
(umask 077; openssl rand -hex 32 >"$layer/etc/vos/token")
inside systemctl reload vos-engine@eth0
as() { local user=$1; shift; inside setpriv --reuid "$user" --regid nogroup --clear-groups "$@"; }
tells() { as "$1" perl -MIO::Socket::UNIX -e '$to = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => "/run/vos/opensips/events.sock") or die; $to->send($ARGV[0]) or die' "$2" 2>/dev/null; }
until_true 10 "OpenSIPS may tell whom pike found" tells opensips '{"ip":"198.51.100.99"}'
until_true 10 "whom pike found is blocked" eval 'inside vosctl list --origin datagram | grep 198.51.100.99'
! tells nobody '{"ip":"198.51.100.98"}' || fail "anybody may tell whom pike found"
! as opensips vosctl status >/dev/null 2>&1 || fail "OpenSIPS can ask the engine"
page() { beside curl -sf "http://127.0.0.1:9960/$1"; }
until_true 10 "the page is there" page ""
mkdir "$mnt/prometheus"
cp "$layer/etc/vos/token" "$mnt/prometheus/vos.token"
cp "$layer"/usr/share/vos/prometheus/vos.rules.yml "$mnt/prometheus/"
sed 's/15s/1s/' "$layer/usr/share/vos/prometheus/prometheus.yml" >"$mnt/prometheus/prometheus.yml"
beside prometheus --config.file="$mnt/prometheus/prometheus.yml" --storage.tsdb.path="$mnt/prometheus/data" \
    --web.listen-address=127.0.0.1:9090 >"$mnt/prometheus.log" 2>&1 &
# What the panel of this title shows.
panel() {
    beside python3 -c 'import json, sys, urllib.parse, urllib.request
panels = json.load(open(sys.argv[1]))["panels"]
expr = next(panel for panel in panels if panel["title"] == sys.argv[2])["targets"][0]["expr"]
expr = expr.replace("$node", ".*").replace("$iface", ".*")
url = "http://127.0.0.1:9090/api/v1/query?query=" + urllib.parse.quote(expr)
print([float(row["value"][1]) for row in json.load(urllib.request.urlopen(url))["data"]["result"]])' \
        "$layer/usr/share/vos/grafana/vos.json" "$1"
}
shows() { [ "$(panel "Attack mode")" = "$1" ]; }
until_true 30 "Grafana's panel shows that there is no attack" shows "[0.0]"
out "$BENCH" junk --iface wire --to $server:5060 --mac "$(inside cat /sys/class/net/eth0/address)" --mix register --rate 3000 \
    --sources 0 --seconds 60 >/dev/null 2>&1 &
attacked() { page v1/attack | python3 -c 'import json, sys; sys.exit(json.load(sys.stdin)["state"] != "attack")'; }
until_true 60 "the page shows the attack" attacked
until_true 20 "Grafana's panel shows the attack" shows "[1.0]"
say "an attack, found, in the page and in Grafana's panel"

# Tuned by hand; and the file is none that could be read.
inside vosctl --iface eth0 tune throughput >/dev/null || expect "tuned by hand, beside an engine" 1 $?
expect "polls before interrupts" "$tuned" "$(polls)"
inside bash -c 'echo "qeues = 4" >>/etc/vos/vos.toml'
inside apt-get remove -y vos-fastpath >"$mnt/apt.log" 2>&1 || { cat "$mnt/apt.log" >&2; fail "removal"; }
expect "pins after the removal" "" "$(inside find /sys/fs/bpf -mindepth 2)"
expect "programs on eth0 after the removal" "" "$(inside ip link show eth0 | grep -o 'prog/xdp.*' || true)"
expect "polls before interrupts after the removal" "$untuned" "$(polls)"
expect "journals of tuning after the removal" "" "$(inside find /var/lib/vos/tune -name '*.json')"
expect "links of the unit after the removal" "" "$(inside find /etc/systemd -name 'vos-*')"
expect "processes after the removal" "" "$(inside pgrep -x vos-engine || true)"
inside test -e /etc/vos/vos.toml || fail "the removal has taken the configuration along"
before=$(from_scanner)
until_true 10 "without a filter the scanner gets through" eval '[ "$(from_scanner)" -gt "$before" ]'
inside rm /etc/tmpfiles.d/vos-opensips.conf
inside apt-get purge -y vos-fastpath >"$mnt/apt.log" 2>&1 || { cat "$mnt/apt.log" >&2; fail "purge"; }
expect "left after the purge" "" "$(inside find / -xdev \( -path /proc -o -path /sys -o -path /srv \) -prune -o \( -name 'vos*' -o -name '*vos-*' \) -print | grep -v -e /var/lib/dpkg -e /var/log -e /var/lib/apt -e /var/cache || true)"
expect "users after the purge" "" "$(inside getent passwd vos || true)$(inside getent group vos || true)"
say "removed, and nothing is left"
