#!/usr/bin/env bash
# rollout.sh [--config FILE] [--check] PACKAGE HOST[:IFACE]...   install or upgrade nodes by ssh, one after the other
#
# On each: the package, FILE as /etc/vos/vos.toml if one is given (the engine there must find it sound first), the unit of
# IFACE (eth0 if none is named); then it must be seen to work: unit active, all queues live, rules the same on disk and in the
# kernel. The first node that is not as it shall be ends it; those behind it are not touched. The
# filter of a node stays in force throughout, and its SIP takes the kernel's path while the engine is replaced.
#
# --check only looks. HOST is what ssh knows (~/.ssh/config), reached as root, or as somebody with sudo without a password.
# SSH="ssh -F FILE" adds options. Exit status: 0 all are as they shall be, 1 one is not, 2 wrong usage.
set -euo pipefail

usage() { sed -n '2s/^# /usage: /p' "$0" >&2; exit 2; }
config='' check=
while [[ ${1:-} == --* ]]; do
    case $1 in
    --config) config=${2:?}; shift 2 ;;
    --check) check=1; shift ;;
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

# on HOST WORDS...: a script of this file's on the node, as root
on() {
    local host=$1
    shift
    { declare -f say_state install_package wait_until_live; printf 'set -euo pipefail\n'; printf '%q ' "$@"; } |
        "${ssh[@]}" "$host" 'if [ "$(id -u)" = 0 ]; then exec bash -s; else exec sudo -n bash -s; fi'
}

# --- what runs on a node --------------------------------------------------------------------------------------

# One line: version, unit, rules. "none" for what is not there.
say_state() { # IFACE
    local rules
    rules=$(vosctl --iface "$1" --json list 2>/dev/null | grep -c '"address"' || true)
    echo "$(dpkg-query -W -f '${Version}' vos-fastpath 2>/dev/null || echo none)" \
        "$(systemctl is-active "vos-engine@$1" || true)" "$rules"
}
install_package() { # IFACE FOLDER
    if [ -e "$2/vos.toml" ] && command -v vos-engine >/dev/null; then
        vos-engine check --config "$2/vos.toml" --iface "$1" >/dev/null
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades "$2/package.deb" >"$2/log" 2>&1 || { tail -n 20 "$2/log" >&2; return 1; }
    if [ -e "$2/vos.toml" ]; then
        # The new engine's word counts.
        vos-engine check --config "$2/vos.toml" --iface "$1" >/dev/null
        if ! cmp -s "$2/vos.toml" /etc/vos/vos.toml; then
            cp -p /etc/vos/vos.toml /etc/vos/vos.toml.before
            install -m 640 -g vos "$2/vos.toml" /etc/vos/vos.toml
            systemctl try-restart "vos-engine@$1"
        fi
    fi
    systemctl enable --quiet --now "vos-engine@$1"
}
wait_until_live() { # IFACE
    local _
    for _ in $(seq 100); do
        if systemctl is-active --quiet "vos-engine@$1" &&
            ! vosctl --iface "$1" --json stats 2>/dev/null | grep '"live": *false' >/dev/null &&
            vosctl --iface "$1" verify >/dev/null 2>&1; then
            return
        fi
        sleep 0.2
    done
    systemctl status --no-pager "vos-engine@$1" >&2 || true
    vosctl --iface "$1" verify >&2 || true
    return 1
}

# --- one node after the other ---------------------------------------------------------------------------------

done=()
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
        on "$host" install_package "$iface" "$folder" || failed "the package, or the configuration, is not taken"
        "${ssh[@]}" "$host" "rm -rf $folder"
    fi
    on "$host" wait_until_live "$iface" || failed "the engine does not work as it should"
    now=$(on "$host" say_state "$iface")
    read -r is unit rules <<<"$now"
    read -r _ was had <<<"$before"
    [ "$unit" = active ] || failed "vos-engine@$iface is $unit"
    [ -n "$check" ] || [ "$is" = "$version" ] || failed "has version $is"
    # Some may have ended meanwhile, not all.
    [ "$was" != active ] || [ "$rules" -gt 0 ] || [ "$had" = 0 ] || failed "had $had rules and has none"
    echo "$host: $is on $iface, $rules rules"
    done+=("$host")
done
