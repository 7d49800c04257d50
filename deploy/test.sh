#!/usr/bin/env bash
# test.sh [STAGE...]   every test there is, or these stages of it; all run even if one fails
#
# A stage that cannot run says why; with VOS_REQUIRE_ALL=1 (CI) that is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${PROFILE:-test-fast}
require_all=${VOS_REQUIRE_ALL:-0}
bin=target/$profile
rust=$(deploy/setup.sh rust)
export PATH=$rust:$PATH CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
fresh=${FRESH_DIR:-target/fresh}
times=$(mktemp) results=$(mktemp) said=$(mktemp) packaged=$(mktemp) others=
clean() {
    if [ -n "$others" ]; then
        kill -- "-$others" 2>/dev/null || true
        wait "$others" 2>/dev/null || true
        cat "$said"
    fi
    rm -f "$times" "$results" "$said" "$packaged"
}
trap clean EXIT

only=${*:+ $* }

# stage NAME COMMAND...: 77 as exit status means that it cannot run here
stage() {
    local name=$1 from=$SECONDS status=0 result
    [ -z "$only" ] || [[ $only == *" $name "* ]] || return 0
    shift
    printf '\n=== %s\n' "$name"
    # Not as `if "$@"`: that would switch -e off inside.
    set +e
    (set -e; "$@")
    status=$?
    set -e
    case $status in
    0) result=ok ;;
    77) result=skipped; [ "$require_all" != 1 ] || result="FAILED (skipped)" ;;
    *) result="FAILED ($status)" ;;
    esac
    printf '%-10s %4d s  %s\n' "$name" $((SECONDS - from)) "$result" >>"$results"
}
failed() { grep -q FAILED "$results"; }

# beside STAGE...: these one after the other, on what the others leave of the CPUs: most tests wait for something most of
# the time. What they say comes in one piece with `together`.
beside() {
    local name
    # Nothing to run beside.
    if [ -n "$only" ] && [[ $only != *" kernel "* ]]; then
        for name; do stage "$name" "$name"; done
        return
    fi
    # A process group, which ends with this.
    set -m
    (
        chrt --idle --pid 0 "$BASHPID" || echo "beside: at full priority"
        for name; do stage "$name" "$name"; done
    ) >"$said" 2>&1 &
    others=$!
    set +m
}
together() {
    [ -n "$others" ] || return 0
    wait "$others" || echo "beside: FAILED ($?)" >>"$results"
    others=
    cat "$said"
}

skip() { echo "skipped: $*"; exit 77; }

# Called by full path: cargo prefers what lies in ~/.cargo/bin to what lies beside it.
has() { "$rust/cargo-$1" --version >/dev/null 2>&1 || skip "this Rust toolchain has no $1 (rustup component add $1)"; }

setup() {
    deploy/setup.sh build run test
    if [ "$require_all" = 1 ]; then deploy/setup.sh bpf fuzz deb; fi
    cargo --version
}
format() {
    has fmt
    "$rust/cargo-fmt" fmt --all --check
    "$rust/cargo-fmt" fmt --manifest-path ebpf/Cargo.toml --check
    "$rust/cargo-fmt" fmt --manifest-path fuzz/Cargo.toml --check
}
lint() {
    has clippy
    "$rust/cargo-clippy" clippy --workspace --all-targets --features vos-bench/parsers --locked --profile "$profile" -- -D warnings
}
# Programs and tests at once: the programs alone would be built once more with what tests switch on in libraries.
build() { cargo test --workspace --no-run --locked --profile "$profile"; }

# tests RUNNER SELECTION...: libtest tells times only where it believes to be unstable; only the test
# programs are told so, cargo would rebuild everything.
tests() {
    local runner="$1 env RUSTC_BOOTSTRAP=1"
    shift
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$runner cargo test --workspace --no-fail-fast --locked \
        --profile "$profile" "$@" -- -Z unstable-options --report-time | tee -a "$times"
}
unit() {
    tests "" --lib --bins
    cargo test --workspace --doc --locked --profile "$profile"
}
# Programs under BPF_PROG_TEST_RUN, namespaces, real SIP servers.
kernel() {
    [ "$EUID" = 0 ] || sudo -v || skip "needs root"
    tests "$([ "$EUID" = 0 ] || echo sudo -E)" --test '*'
}
bpf() { deploy/bpf.sh check; }
fuzz() {
    deploy/fuzz.sh linear
    # The same order each time: a red run is the change's doing. An input may have to wait for the CPU here. frames takes
    # minutes to build, and its model is driven by a test of the engine's, too.
    export FUZZ_SEED=1 FUZZ_TIMEOUT=30
    deploy/fuzz.sh 45 message
    deploy/fuzz.sh 15 uri
}
as_root() {
    if [ "$EUID" = 0 ]; then "$@"; return; fi
    sudo -v || skip "needs root"
    sudo -E "$@"
}
# What `install` and `rollout` need: the package, a later one, and a fresh Debian.
package() {
    [ -x "${DEB_TOOLS:-/opt/deb-tools}/bin/cargo-deb" ] || skip "no cargo-deb (deploy/setup.sh deb)"
    as_root deploy/fresh/root.sh "$fresh"
    # Whoever names no version gets one that is later than the last.
    if [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" = false ]; then
        dpkg --compare-versions "$(deploy/deb.sh version)" gt "$(sed -n '/^version = /s/.*"\(.*\)"/\1/p' Cargo.toml)-1"
    fi
    local version
    # cargo-deb takes older ones away from where it usually puts them.
    for version in 0.0.1-1 9.0.0-1; do
        deploy/deb.sh "$profile" --fast --deb-version $version --output "target/package-$version.deb"
    done
    echo made >"$packaged"
}
# Those of today: a stage that is run alone makes them.
packages() { [ -s "$packaged" ] || package; }
# That package on that Debian, under systemd: docs/install.md, crashes, upgrade, removal.
install() {
    packages
    as_root env BENCH="$bin/vos-bench" deploy/fresh/run.sh "$fresh" deploy/fresh/journey.sh target/package-{0.0.1,9.0.0}-1.deb
}
# Three such machines, by ssh.
rollout() {
    packages
    as_root env BENCH="$bin/vos-bench" deploy/fresh/rollout-check.sh "$fresh" target/package-{0.0.1,9.0.0}-1.deb
}
# guests "KERNEL NIC BIND QUEUES [SCRIPT]"...: a journey in an emulated machine for each, or another script; all at once,
# since most of their time is the verifier's, which has one CPU. What each says comes in one piece.
guests() {
    local guest said=() number status=0
    started=()
    # Each is a process group, all of which ends with this.
    set -m
    trap 'for guest in "${started[@]}"; do kill -- "-$guest" 2>/dev/null || true; done' EXIT
    for guest; do
        said+=("$(mktemp)")
        # shellcheck disable=SC2086 # four words or five
        one_guest $guest >"${said[-1]}" 2>&1 &
        started+=($!)
    done
    for number in "${!started[@]}"; do
        wait "${started[number]}" || status=1
        cat "${said[number]}"
        rm "${said[number]}"
    done
    return $status
}
one_guest() {
    KERNEL=$1 NIC=$2 GUEST_ARGS="$3 $4" deploy/zcvm/run.sh "${GUEST_DIR:-target/guest}" "deploy/zcvm/${5:-journey}.sh" \
        "$bin/vos-engine" "$bin/vosctl" "$bin/vos-bench"
}

# One after the other: these have the older verifiers, which are quick, so two at once only get in each other's way.
kernels() {
    guests "trixie virtio copy 1"
    guests "bookworm virtio copy 1"
}

stage setup setup
! failed || exit 1
stage format format
stage build build
stage unit unit
beside package bpf fuzz lint
stage kernel kernel
together
stage install install
stage rollout rollout
stage zero-copy guests "backports virtio zerocopy 1" "backports igb zerocopy 4" "backports igb - - tune"
stage kernels kernels

[ -s "$results" ] || { echo "no stage of that name"; exit 2; }
if [ -s "$times" ]; then printf '\n=== slowest tests\n'; fi
sed -n 's/^test \(.*\) \.\.\. .*<\([0-9.]*\)s>$/\2 s  \1/p' "$times" | sort -rn | sed -n 1,5p
printf '\n=== stages\n'
cat "$results"
if failed; then echo "FAIL after $SECONDS s" && exit 1; else echo "PASS in $SECONDS s"; fi
