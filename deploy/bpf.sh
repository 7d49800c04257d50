#!/usr/bin/env bash
# bpf.sh build   rebuild ebpf/vos.bpf.o and record the toolchain beside it
# bpf.sh check   rebuild and compare byte for byte; exits 77 where the toolchain is missing or another
#
# The object is committed, so that nobody else needs LLVM or a BPF compiler. It is the same
# whichever folder the tree lies in. Compiler, sources of core and LLVM come from Debian in one
# version (deploy/setup.sh bpf); rustup is not touched: everything is called by full path.
set -euo pipefail

# As the compiler's wrapper (see compile): cargo hashes the absolute path of a crate outside its
# workspace into the names of that crate's symbols, so our own crates get a constant instead.
case ${1:-} in
*/rustc)
    for arg; do
        case $arg in metadata=*) [[ $* == *' --crate-name vos'* ]] && arg=metadata=vos ;; esac
        args+=("$arg")
    done
    exec "${args[@]}"
    ;;
esac

die() { echo "bpf.sh: $*" >&2; exit 1; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
tools=${BPF_TOOLS:-/opt/bpf-tools}
object=$root/ebpf/vos.bpf.o
recorded=$root/ebpf/vos.bpf.toolchain
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Cargo and rustup hand their choices on in the environment; none of them may reach this build.
for name in $(compgen -e); do
    case $name in
    CARGO_HOME | CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTR* | CARGO_SOURCE_*) ;;
    CARGO* | RUST*) unset "$name" ;;
    esac
done
export PATH=$tools/bin:/usr/bin:/bin

# One line each; empty where the tool is missing.
toolchain() {
    /usr/bin/rustc --version 2>/dev/null || echo "rustc missing"
    "$tools/bin/bpf-linker" --version 2>/dev/null || echo "bpf-linker missing"
    { llvm-objcopy-22 --version 2>/dev/null || echo "LLVM missing"; } | sed -n 's/.*LLVM version/LLVM/p'
    [ -d /usr/lib/rustlib/src/rust/library/core ] || echo "rust-web-src missing"
}

# compile OUT: bpf-linker's link options come from rustc's (cpu, optimisation level).
# Stripping removes DWARF, which holds paths and hashes of the build, and keeps BTF.
compile() {
    local cargo_home=${CARGO_HOME:-$HOME/.cargo} dir
    (cd "$root/ebpf" && /usr/bin/cargo fetch --quiet "${@:2}")
    local flags=(
        '--cfg=bpf_target_arch="x86_64"'
        -Ctarget-cpu=v3 -Cdebuginfo=2 -Clink-arg=--btf
        # Without this a zero fill of 48 bytes becomes a loop over bytes: 86 ns a packet, not 43.
        -Clink-arg=--disable-expand-memcpy-in-order
        # Without this a load of eight bytes from the packet is eight loads and fourteen shifts and ORs: x86-64
        # and the verifier on it take words at any address.
        -Clink-arg=--cpu-features=+allows-misaligned-mem-access
        # LLVM puts the text of each line into BTF where it finds the file of that name: it must not.
        "--remap-path-prefix=$root=/dev/null/vos"
    )
    for dir in "$cargo_home"/registry/src/*; do flags+=("--remap-path-prefix=$dir=/dev/null/crates"); done
    (
        cd "$root/ebpf"
        CARGO_ENCODED_RUSTFLAGS=$(printf '\x1f%s' "${flags[@]}" | tail -c +2) \
            RUSTC=/usr/bin/rustc RUSTC_WRAPPER=$root/deploy/bpf.sh RUSTC_BOOTSTRAP=1 \
            /usr/bin/cargo build --release "${@:2}" --target bpfel-unknown-none -Z build-std=core \
            --target-dir "$root/ebpf/target"
    )
    llvm-objcopy-22 --strip-debug "$root/ebpf/target/bpfel-unknown-none/release/vos" "$1"
}

# Without the toolchain there is nothing to compare with. 77: not checked (deploy/test.sh).
skip() { echo "skipped: $*"; exit 77; }

toolchain >"$tmp/toolchain"
missing=$(grep missing "$tmp/toolchain" || true)

case ${1:-} in
build)
    [ -z "$missing" ] || die "${missing//$'\n'/, }: run deploy/setup.sh bpf"
    compile "$tmp/vos.bpf.o"
    mv "$tmp/vos.bpf.o" "$object"
    mv "$tmp/toolchain" "$recorded"
    echo "built ${object#"$root"/}: $(stat -c %s "$object") bytes"
    ;;
check)
    if ! [ -f "$object" ] || ! [ -f "$recorded" ]; then die "no ${object#"$root"/}: run make bpf"; fi
    [ -z "$missing" ] || skip "${missing//$'\n'/, } (deploy/setup.sh bpf installs it)"
    if ! diff "$recorded" "$tmp/toolchain" >"$tmp/diff"; then
        skip "the object was built by another toolchain (< recorded, > present):"$'\n'"$(grep '^[<>]' "$tmp/diff")"
    fi
    compile "$tmp/vos.bpf.o" --locked
    cmp "$object" "$tmp/vos.bpf.o" || die "${object#"$root"/} is not what the source gives: run make bpf"
    echo "bpf check: ${object#"$root"/} is what the source gives"
    ;;
*) die "usage: bpf.sh build|check" ;;
esac
