#!/usr/bin/env bash
# Gives inputs to whatever reads what others have written, and looks at what they reach: fuzz.sh [--runs NUMBER] [TARGET]...
# Without --runs for FUZZ_SECONDS each. What has been found stays in the folder of the build, for the next time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

limit=-max_total_time=${FUZZ_SECONDS:-60}
if [ "${1:-}" = --runs ]; then
    limit=-runs=$2
    shift 2
fi
targets=("$@")
[ $# -gt 0 ] || targets=(codec protocol yaml journal)

if ! cargo +nightly --version >/dev/null 2>&1; then
    command -v rustup >/dev/null || die "fuzzing needs a nightly Rust toolchain, and there is no rustup to fetch one with." \
        "Install it from https://rustup.rs, then: rustup toolchain install nightly"
    say "installing a nightly Rust toolchain"
    rustup toolchain install nightly --profile minimal >&2 ||
        die "fuzzing needs a nightly Rust toolchain, and it could not be installed." "By hand: rustup toolchain install nightly"
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    say "installing cargo-fuzz; this takes a minute or two"
    cargo install cargo-fuzz --locked >&2 ||
        die "cargo-fuzz could not be installed." "By hand: cargo install cargo-fuzz --locked"
fi
if ! command -v c++ >/dev/null; then
    apt_install g++ || die "no C++ compiler found; the fuzzer needs one." "Install one (Debian, Ubuntu: apt-get install g++)."
fi

build=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
for target in "${targets[@]}"; do
    say "fuzzing $target ($limit)"
    mkdir -p "$build/corpus/$target"
    # The first folder takes what is new; the committed one is only read. What fails is in fuzz/artifacts.
    cargo +nightly fuzz run --target-dir "$build" "$target" "$build/corpus/$target" "fuzz/corpus/$target" -- \
        "$limit" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 ||
        die "the target $target has failed; the input is above, and in fuzz/artifacts/$target." \
            "When it is mended, move the input to fuzz/corpus/$target: the tests take it from then on."
done
