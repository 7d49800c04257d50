#!/usr/bin/env bash
# setup.sh PART...   install what is missing on Debian 12, as root or through sudo
# setup.sh rust      print the directory of the cargo that this project is built with
#
#   build  compile vos-engine, vosctl and vos-bench     run   demo and tests: namespaces, ethtool
#   load   benches: Kamailio, and what firewalls need
#   test   SIP servers, clients, scanners; RabbitMQ; sshd; Prometheus     bpf   change the XDP program (1.5 GB)
#   fuzz   drive the SIP parser with what nobody sends
#   bench  other SIP parsers, valgrind                  deb    make the Debian package
#   container  make the container's image, and run it
#
# What is there is left alone: a second run asks dpkg, needs no network and no root.
set -euo pipefail

die() { echo "setup: $*" >&2; exit 1; }

# The cargo on PATH if it runs and is new enough (Cargo.toml's rust-version), else Debian's.
rust_dir() {
    local cargo minor
    if cargo=$(command -v cargo) && minor=$(rustc --version 2>/dev/null) && cargo --version >/dev/null 2>&1; then
        minor=${minor#rustc 1.}
        if [ "${minor%%.*}" -ge 95 ] 2>/dev/null; then
            cargo=$(dirname "$cargo")
            echo "${cargo/#\/bin//usr/bin}"
            return
        fi
    fi
    echo /usr/bin
}

as_root() {
    if [ "$EUID" = 0 ]; then "$@"; return; fi
    command -v sudo >/dev/null || die "needs root to install packages: run as root, or install sudo"
    sudo "$@"
}

# A tester's SIP server must not take port 5060 of the machine: Debian's hook that forbids starting
# services is there only while apt runs.
policy=/usr/sbin/policy-rc.d
policy_mark='# vos-fastpath: for the length of one apt-get'
policy_off() { if grep -qsF "$policy_mark" $policy; then as_root rm -f $policy; fi; }
policy_on() {
    [ -e $policy ] || printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" | as_root install -m 755 /dev/stdin $policy
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 "$@"; }

disable() { if command -v systemctl >/dev/null; then as_root systemctl disable "$1" >/dev/null 2>&1 || true; fi; }

install_missing() {
    local installed missing=() package
    # shellcheck disable=SC2016 # dpkg's variables
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
    for package; do
        grep -qx "installed $package" <<<"$installed" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    echo "setup: installing ${missing[*]}"
    policy_on
    apt_get -qq update || echo "setup: apt-get update failed for some source; trying with what there is" >&2
    apt_get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "apt could not install the packages above (no network? not Debian 12 with its security updates?)"
    }
    policy_off
    # Nor at the next boot. This works without systemd running, too.
    for package in "${missing[@]}"; do
        case $package in
        kamailio | rabbitmq-server | prometheus) disable "$package" ;;
        openssh-server) disable ssh ;;
        esac
    done
}

# bpf-linker is not in Debian. Compiler, sources of core and LLVM have to be of one version, Debian's.
install_bpf_linker() {
    local version=0.13.0 tools=${BPF_TOOLS:-/opt/bpf-tools} tmp
    [ "$("$tools/bin/bpf-linker" --version 2>/dev/null)" != "bpf-linker $version" ] || return 0
    echo "setup: building bpf-linker $version into $tools"
    tmp=$(mktemp -d)
    env -u RUSTUP_TOOLCHAIN -u RUSTC -u RUSTFLAGS PATH=/usr/lib/llvm-22/bin:/usr/bin:/bin \
        /usr/bin/cargo install bpf-linker --version "$version" --locked \
        --no-default-features --features llvm-22 --root "$tmp" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "bpf-linker did not build"
    }
    as_root install -D "$tmp/bin/bpf-linker" "$tools/bin/bpf-linker"
    rm -rf "$tmp"
}

# cargo_tool NAME VERSION DIR [ARGUMENT...]: what is not in Debian. Any compiler that builds this project builds it.
cargo_tool() {
    local name=$1 version=$2 tools=$3 rust tmp
    shift 3
    [[ "$("$tools/bin/$name" --version 2>/dev/null)" != *"$version" ]] || return 0
    echo "setup: building $name $version into $tools"
    rust=$(rust_dir)
    tmp=$(mktemp -d)
    env -u RUSTFLAGS PATH="$rust:$PATH" \
        "$rust/cargo" install "$name" --version "$version" --locked --root "$tmp" "$@" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "$name did not build"
    }
    as_root install -D "$tmp/bin/$name" "$tools/bin/$name"
    rm -rf "$tmp"
}
install_cargo_fuzz() { cargo_tool cargo-fuzz 0.13.2 "${FUZZ_TOOLS:-/opt/fuzz-tools}"; }
# Not optimised: it copies a few files.
install_cargo_deb() { cargo_tool cargo-deb 3.8.0 "${DEB_TOOLS:-/opt/deb-tools}" --debug; }

[ $# -gt 0 ] || die "usage: setup.sh [build] [run] [load] [test] [bpf] [fuzz] [bench] [deb] [container], or setup.sh rust"
if [ "$*" = rust ]; then rust_dir; exit; fi
command -v apt-get >/dev/null || die "this is not Debian: install by hand what $0 lists, then use cargo"

packages=()
for part; do
    case $part in
    build)
        # clang compiles libxdp's own small BPF programs, m4 its templates.
        packages+=(gcc libc6-dev make pkg-config libelf-dev zlib1g-dev clang m4 ca-certificates)
        [ "$(rust_dir)" != /usr/bin ] || packages+=(cargo-web rustc-web)
        ;;
    run) packages+=(iproute2 util-linux mount ethtool procps) ;;
    load) packages+=(kamailio nftables iptables) ;;
    test)
        packages+=(python3 python3-prometheus-client util-linux kamailio kamailio-rabbitmq-modules sip-tester baresip-core sipvicious sipsak nmap tcpdump nftables iptables bpftool strace curl)
        packages+=(rabbitmq-server openssh-server openssh-client openssl groff-base iputils-ping debootstrap prometheus chromium chromium-driver)
        [ "$(rust_dir)" != /usr/bin ] || packages+=(rustfmt-web rust-web-clippy)
        ;;
    bpf) packages+=(cargo-web rustc-web rust-web-src llvm-22 llvm-22-dev) ;;
    fuzz)
        # libFuzzer is C++; valgrind counts instructions.
        packages+=(g++ gcc libc6-dev ca-certificates valgrind)
        [ "$(rust_dir)" != /usr/bin ] || packages+=(cargo-web rustc-web)
        ;;
    deb)
        packages+=(gcc libc6-dev dpkg ca-certificates)
        [ "$(rust_dir)" != /usr/bin ] || packages+=(cargo-web rustc-web)
        ;;
    container) packages+=(podman buildah crun) ;;
    bench) packages+=(libosip2-dev libsofia-sip-ua-dev valgrind) ;;
    *) die "no part named $part: build, run, load, test, bpf, fuzz, bench, deb, container" ;;
    esac
done

started=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"; policy_off' EXIT
install_missing "${packages[@]}"
if [[ " $* " == *' bpf '* ]]; then install_bpf_linker; fi
if [[ " $* " == *' fuzz '* ]]; then install_cargo_fuzz; fi
if [[ " $* " == *' deb '* ]]; then install_cargo_deb; fi
echo "setup: $* ready ($((SECONDS - started)) s)"
