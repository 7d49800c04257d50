#!/usr/bin/env bash
# rollout.sh [--config FILE] [--downgrade] [--check] PACKAGE HOST[:IFACE]...   install or upgrade nodes by ssh, one after the other
#
# On each: FILE as /etc/vos/vos.toml if one is given (the engine of PACKAGE must find it sound there first), the package, the
# unit of IFACE (eth0 if none is named); then it must be seen to work: unit active and of the package's version, all queues
# live, rules the same on disk and in the kernel, those without an end still there. If it does not, the file of before is put
# back. The first node that is not as it shall be ends it; those behind it are not touched. The
# filter of a node stays in force throughout, and its SIP takes the kernel's path while the engine is replaced.
#
# --check only looks. --downgrade takes a PACKAGE that is older than what a node has. HOST is what ssh knows (~/.ssh/config),
# reached as root, or as somebody with sudo without a password. SSH="ssh -F FILE" adds options. Exit status: 0 all are as they
# shall be, 1 one is not, 2 wrong usage.
set -euo pipefail

usage() { sed -n '2s/^# /usage: /p' "$0" >&2; exit 2; }
config='' check='' downgrade=''
while [[ ${1:-} == --* ]]; do
    case $1 in
    --config) config=${2:?}; shift 2 ;;
    --check) check=1; shift ;;
    --downgrade) downgrade=--allow-downgrades; shift ;;
    *) usage ;;
    esac
done
if [ -z "$check" ]; then package=${1:-}; [ $# -ge 2 ] || usage; shift; else [ $# -ge 1 ] || usage; fi
if [ -z "$check" ]; then
    [ -r "$package" ] || { echo "rollout: $package cannot be read: make deb" >&2; exit 2; }
    version=$(dpkg-deb -f "$package" Version) || exit 2
fi
[ -z "$config" ] || [ -r "$config" ] || { echo "rollout: $config cannot be read" >&2; exit 2; }
read -ra ssh <<<"${SSH:-ssh} -o BatchMode=yes -o ConnectTimeout=10"

# on HOST WORDS...: a function of this file's on the node, as root
on() {
    local host=$1
    shift
    { declare -f say_state install_package wait_until_live; printf 'set -euo pipefail\n'; printf '%q ' "$@"; } |
        "${ssh[@]}" "$host" 'if [ "$(id -u)" = 0 ]; then exec bash -s; else exec sudo -n bash -s; fi'
}

# --- what runs on a node --------------------------------------------------------------------------------------

# One line: version, unit, rules, those of them that operators made for good, the program that runs: new, or old if another has
# taken its place on the disk since. "none" for what is not there, "-" for rules that nobody can tell.
say_state() { # IFACE
    local list rules=- good=- program=none pid
    # A rule is a line.
    if list=$(vosctl --iface "$1" --json list 2>/dev/null); then
        rules=$(grep -c '^ *{"net":' <<<"$list" || true)
        good=$(grep '"until":null' <<<"$list" | grep -c -e '"origin":"cli"' -e '"origin":"api"' || true)
    fi
    pid=$(systemctl show -P MainPID "vos-engine@$1" 2>/dev/null || echo 0)
    if [ "${pid:-0}" != 0 ]; then
        if [ "$(readlink "/proc/$pid/exe")" = "$(realpath /usr/sbin/vos-engine)" ]; then program=new; else program=old; fi
    fi
    echo "$(dpkg-query -W -f '${Version}' vos-fastpath 2>/dev/null || echo none)" \
        "$(systemctl is-active "vos-engine@$1" || true)" "$rules" "$good" "$program"
}
install_package() { # IFACE FOLDER DOWNGRADE
    local iface=$1 downgrade=$3 file=''
    # In it are passwords. Not local: the trap comes after the function.
    folder=$2 new=''
    local was
    trap 'rm -rf "$folder" "$new"' EXIT
    put_back() {
        [ -n "$file" ] || return 0
        cp -p /etc/vos/vos.toml.before /etc/vos/vos.toml
        echo "/etc/vos/vos.toml is the one of before again" >&2
        # One that has not been ended for the other file goes on.
        [ "$(engine)" != "$was" ] || return 0
        if ! vos-engine check --config /etc/vos/vos.toml --iface "$iface" >/dev/null; then
            echo "and vos-engine@$iface is left as it is: the engine that is installed does not take it" >&2
        elif ! systemctl restart "vos-engine@$iface"; then
            echo "and the engine does not start with it" >&2
        fi
    }
    engine() { systemctl show -P MainPID "vos-engine@$iface"; }
    put() {
        cmp -s "$folder/vos.toml" /etc/vos/vos.toml && return
        cp -p /etc/vos/vos.toml /etc/vos/vos.toml.before
        file=put was=$(engine)
        install -m 640 -g vos "$folder/vos.toml" /etc/vos/vos.toml
    }
    apt() {
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y --reinstall ${downgrade:+"$downgrade"} "$folder/package.deb" \
            </dev/null >"$folder/log" 2>&1 || { tail -n 20 "$folder/log" >&2; return 1; }
        # What postinst warns of.
        sed -n '/^vos-fastpath: WARNING/,/^vos-fastpath: .*restart/p' "$folder/log" >&2
    }
    if [ ! -e "$folder/vos.toml" ]; then
        apt
    elif [ -x /usr/sbin/vos-engine ] && [ -e /etc/vos/vos.toml ]; then
        # The word of the new engine counts: the file may have what only this one knows. Not in /tmp, where nothing may be run
        # on some machines. The file goes first, so that there is one start.
        new=$(mktemp -d /var/lib/vos-rollout.XXXXXX)
        dpkg-deb -x "$folder/package.deb" "$new"
        "$new/usr/sbin/vos-engine" check --config "$folder/vos.toml" --iface "$iface" >/dev/null
        put
        apt || { put_back; return 1; }
    else
        # Nothing runs yet; what the engine needs comes with the package.
        apt
        vos-engine check --config "$folder/vos.toml" --iface "$iface" >/dev/null
        put
    fi
    systemctl enable --quiet "vos-engine@$iface"
    # Also one that has given up on the configuration of before.
    systemctl reset-failed "vos-engine@$iface" 2>/dev/null || true
    if systemctl start "vos-engine@$iface" && wait_until_live "$iface"; then return; fi
    put_back
    return 1
}
wait_until_live() { # IFACE
    local _ stats
    for _ in $(seq 100); do
        if systemctl is-active --quiet "vos-engine@$1" && stats=$(vosctl --iface "$1" --json stats 2>/dev/null) &&
            ! grep '"live": *false' >/dev/null <<<"$stats" && vosctl --iface "$1" verify >/dev/null 2>&1; then
            return
        fi
        sleep 0.2
    done
    systemctl status --no-pager "vos-engine@$1" >&2 || true
    vosctl --iface "$1" verify >&2 || true
    return 1
}

# --- one node after the other ---------------------------------------------------------------------------------

done=() host='' folder=''
# Whatever ends this.
clean() { [ -z "$folder" ] || "${ssh[@]}" "$host" "rm -rf $folder" || echo "rollout: $host: rm -rf $folder by hand: passwords may be in it" >&2; }
trap clean EXIT
for node; do
    host=${node%%:*} iface=${node#"$host"} iface=${iface#:} iface=${iface:-eth0}
    failed() {
        echo "rollout: $host: $*" >&2
        echo "rollout: done: ${done[*]:-none}; the others are as they were" >&2
        exit 1
    }
    before=$(on "$host" say_state "$iface") || failed "cannot be reached, or not as root"
    if [ -z "$check" ]; then
        folder=$("${ssh[@]}" "$host" 'mktemp -d') || failed "no room"
        "${ssh[@]}" "$host" "cat >$folder/package.deb" <"$package" || failed "the package does not arrive"
        if [ -n "$config" ]; then "${ssh[@]}" "$host" "umask 077; cat >$folder/vos.toml" <"$config" || failed "the file does not arrive"; fi
        on "$host" install_package "$iface" "$folder" "$downgrade" ||
            failed "the package, or the configuration, is not taken, or the engine does not work as it should with it"
        "${ssh[@]}" "$host" "rm -rf $folder" && folder=
    else
        on "$host" wait_until_live "$iface" || failed "the engine does not work as it should"
    fi
    now=$(on "$host" say_state "$iface") || failed "cannot be reached any more"
    read -r is unit rules good program <<<"$now"
    read -r _ _ had had_good _ <<<"$before"
    [ "$unit" = active ] || failed "vos-engine@$iface is $unit"
    [ -n "$check" ] || [ "$is" = "$version" ] || failed "has version $is"
    [ "$program" = new ] || failed "the engine that runs is the one of before $is: vos-engine check --config /etc/vos/vos.toml --iface $iface && systemctl restart vos-engine@$iface"
    [ "$rules" != - ] || failed "does not tell its rules"
    # Others may have ended meanwhile.
    [ "$had_good" = - ] || [ "$good" -ge "$had_good" ] || failed "had $had_good rules for good by operators, and has $good"
    echo "$host: $is on $iface, $rules rules$([ -n "$check" ] || [ "$had" = - ] || echo " (had $had)")"
    done+=("$host")
done
