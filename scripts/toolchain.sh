#!/usr/bin/env bash
# Checks that the Rust toolchain can build the crate; with --lint also that rustfmt and clippy are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

install_rust="Install it from https://rustup.rs, open a new shell, then run make again."
command -v cargo >/dev/null && command -v rustc >/dev/null || die "no Rust toolchain found (cargo, rustc)." "$install_rust"

needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
found=$(rustc --version | cut -d' ' -f2)
oldest=$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)
[ "$oldest" = "$needed" ] || die "Rust $found is too old; miqro needs $needed or later." "With rustup: rustup update stable"

if ! command -v cc >/dev/null; then
    apt_install gcc libc6-dev || die "no C compiler found; Rust needs one to link." \
        "Install one (Debian, Ubuntu: apt-get install gcc libc6-dev), then run make again."
fi

[ "${1:-}" = --lint ] || exit 0
for component in rustfmt clippy; do
    tool=cargo-${component/rustfmt/fmt}
    command -v "$tool" >/dev/null && "$tool" --version >/dev/null 2>&1 && continue
    if command -v rustup >/dev/null; then
        say "adding $component to the toolchain"
        rustup component add "$component" >&2 && continue
    fi
    die "the Rust toolchain lacks $component." "With rustup: rustup component add $component"
done
