#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET]       drive a fuzz target (message, uri, frames, forms, lines; all if none is named) for so long
# fuzz.sh reproduce TARGET FILE  run one input again
# fuzz.sh linear                 count the instructions that hostile inputs of 8 and 16 KB take
#
# FUZZ_SEED=N repeats a run; without it each is another. FUZZ_TIMEOUT=S is how long an input may take by the clock (1): more
# where others have the CPU.
# Fuzzing takes a stable compiler: coverage without a sanitizer, which has nothing to find in a crate
# that forbids unsafe code, and knows nothing of a UMEM. Exits 77 where cargo-fuzz or valgrind is missing
# (deploy/setup.sh fuzz). frames needs root for its UMEM, and is left out without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${FUZZ_TOOLS:-/opt/fuzz-tools}
corpus=${VOS_CORPUS:-../shared/corpus}
out=target/fuzz
slow=${FUZZ_TIMEOUT:-1}
rust=$(deploy/setup.sh rust)
export PATH=$rust:$PATH

die() { echo "fuzz: $*" >&2; exit 1; }
skip() { echo "skipped: $*"; exit 77; }

# build TARGET: prints the program's path
build() {
    [ -x "$tools/bin/cargo-fuzz" ] || skip "no cargo-fuzz (deploy/setup.sh fuzz installs it)" >&2
    local features=()
    case $1 in frames | forms | lines) features=(--features engine) ;; esac
    "$tools/bin/cargo-fuzz" fuzz build --fuzz-dir fuzz --target-dir "$out" --sanitizer none "${features[@]}" "$1" >&2 ||
        die "$1 did not build"
    echo "$out/$(rustc -vV | sed -n 's/^host: //p')/release/$1"
}

# The program that makes the hostile inputs needs no fuzzer. Prints its path.
build_hostile() {
    cargo build --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir "$out" --no-default-features --release \
        --bin hostile
    echo "$out/release/hostile"
}

# seed TARGET: fills its folders of seeds, the ordinary and the long ones
seed() {
    local seeds=$out/seeds/$1 file hostile
    rm -rf "$seeds" "$seeds-long"
    mkdir -p "$seeds" "$seeds-long" "$out/corpus/$1" "$out/corpus/$1-long"
    [ ! -d "fuzz/seeds/$1" ] || cp "fuzz/seeds/$1"/* "$seeds"
    if [ ! -d "$corpus" ]; then
        [ "${VOS_REQUIRE_ALL:-0}" != 1 ] || die "no corpus at $corpus: set VOS_CORPUS to its folder"
        echo "fuzz: no corpus at $corpus: starting from the hostile inputs alone" >&2
    fi
    find "$corpus" sip-parse/tests \( -name '*.sip' -o -name '*.dat' -o -name '*.bin' \) 2>/dev/null >"$out/messages" || true
    case $1 in
    message)
        while read -r file; do cp "$file" "$seeds/${file//[\/]/_}"; done <"$out/messages"
        ;;
    uri)
        xargs -r -d '\n' grep -aohE '\b[A-Za-z][A-Za-z+.-]*:[^][:space:]<>"]+' <"$out/messages" | sort -u |
            split -l 1 -a 5 - "$seeds/"
        ;;
    forms | lines) return ;; # what is in fuzz/seeds
    frames)
        while read -r file; do frame_seed "$file" >"$seeds/${file//[\/]/_}"; done <"$out/messages"
        return
        ;;
    esac
    hostile=$(build_hostile)
    "$hostile" write "$1" "$seeds-long"
}

# A message that arrives over IPv4, is answered with itself, and the answer sent: steps as the model of the queue reads them.
frame_seed() {
    local length
    length=$(printf '%04x' "$(($(stat -c %s "$1") > 1400 ? 1400 : $(stat -c %s "$1")))")
    length="\\x${length:0:2}\\x${length:2}"
    printf '\x06\x10\x02\x00\x00\x01'"$length"; head -c 1400 "$1"
    printf '\x05\x00\x01'"$length"; head -c 1400 "$1"
    printf '\x07\x10'
}

# A stretch of inputs: up to 4,096 bytes, or up to one more than a datagram can have.
# fuzz TARGET PROGRAM SECONDS short|long
fuzz() {
    local target=$1 program=$2 seconds=$3 artifacts=$out/artifacts/$1 log=$out/$1-$4.log options status=0
    case $4 in
    short) options=(-max_len=4096 "$out/corpus/$target" "$out/seeds/$target") ;;
    long) options=(-max_len=65536 -len_control=0 "$out/corpus/$target-long" "$out/seeds/$target-long" "$out/corpus/$target" "$out/seeds/$target") ;;
    esac
    mkdir -p "$artifacts"
    rm -f "$artifacts"/*
    RUST_BACKTRACE=0 "$program" -max_total_time="$seconds" -seed="${FUZZ_SEED:-0}" -timeout="$slow" -rss_limit_mb=1024 -dict=fuzz/sip.dict \
        -artifact_prefix="$artifacts/" -print_final_stats=1 "${options[@]}" >"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || failed "$target" "$program" "$log"
    summary "$target, $4 inputs" "$log"
}

# The runs and seconds of a stretch, and how many edges of the program were reached.
summary() {
    local runs seconds edges
    read -r runs seconds < <(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 \2/p' "$2")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$2" | tail -n 1)
    echo "fuzz: $1: $runs runs, $edges edges covered, $seconds s"
}

# What was found, cut to what is needed for it, and how to see it again.
failed() {
    local target=$1 program=$2 log=$3 found minimised
    found=$(find "$out/artifacts/$target" -type f | head -n 1)
    sed -n '/panicked at/,/^note:/p; /^ALARM/p; /^SUMMARY/p' "$log" >&2
    [ -n "$found" ] || die "$target ended without an artifact: $log"
    minimised=$found.min
    "$program" -minimize_crash=1 -timeout="$slow" -max_total_time=20 -exact_artifact_path="$minimised" "$found" \
        >"$log.min" 2>&1 || true
    [ -s "$minimised" ] || cp "$found" "$minimised"
    echo "fuzz: $target failed on $found ($(stat -c %s "$found") bytes), cut to $minimised:" >&2
    { head -c 2000 "$minimised" | cat -v; echo; head -c 2000 "$minimised" | base64; } >&2
    die "run it again with: deploy/fuzz.sh reproduce $target $minimised"
}

campaign() { # TARGET SECONDS
    local program long=$(($2 / 4))
    if [ "$1" = frames ] && [ "$EUID" != 0 ]; then echo "fuzz: frames: skipped: needs root"; return; fi
    program=$(build "$1")
    seed "$1"
    case $1 in
    frames | forms | lines)
        # Many short ones in an order: no frame is longer than its chunk, no line than 2,048 bytes. And a long
        # message is many short ones.
        fuzz "$1" "$program" "$2" short
        return
        ;;
    esac
    fuzz "$1" "$program" $(($2 - long)) short
    fuzz "$1" "$program" "$long" long
}

reproduce() { # TARGET FILE
    local program
    program=$(build "$1")
    "$program" -timeout="$slow" "$2"
}

# Twice the bytes may take twice the instructions, whatever they are. Time would tell less: the
# machine has other things to do.
linear() {
    local costs=$out/costs hostile
    command -v valgrind >/dev/null || skip "no valgrind (deploy/setup.sh fuzz installs it)"
    hostile=$(build_hostile)
    rm -rf "$costs"
    mkdir -p "$costs"
    # One file of costs for each time that hostile::counted is left, numbered from 1 on.
    valgrind --quiet --tool=callgrind --callgrind-out-file="$costs/cost" \
        --toggle-collect='hostile::counted*' --dump-after='*hostile::counted*' "$hostile" read >"$costs/names"
    printf '%s\n' "$costs"/cost.* | sort -V | xargs sed -n 's/^summary: //p' | paste - - | paste - "$costs/names" |
        awk -F '\t' -v names="$(wc -l <"$costs/names")" '
            { ratio = $2 / $1 }
            ratio > worst { worst = ratio }
            ratio > 2.3 { printf "fuzz: twice the bytes, %.2f times the instructions (%.0f): %s\n", ratio, $2, $3; failed = 1 }
            END {
                if (NR != names || NR == 0 || $3 == "") { print "fuzz: callgrind counted", NR, "of", names; failed = 1 }
                printf "fuzz: linear: %d inputs, twice the bytes take %.2f times the instructions at most\n", NR, worst
                exit failed
            }' || die "see $costs"
}

case ${1:-} in
linear) linear ;;
reproduce) reproduce "${2:?which target?}" "${3:?which file?}" ;;
[1-9]*)
    case ${2:-} in
    message | uri | frames | forms | lines) campaign "$2" "$1" ;;
    '') campaign message $(($1 / 2)); for target in uri frames forms lines; do campaign "$target" $(($1 / 8)); done ;;
    *) die "no target named $2: message, uri, frames, forms, lines" ;;
    esac
    ;;
*) die "usage: fuzz.sh SECONDS [message|uri|frames|forms|lines], fuzz.sh reproduce TARGET FILE, or fuzz.sh linear" ;;
esac
