#!/usr/bin/env bash
# Makes sure that valgrind, which counts instructions, is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

if ! command -v valgrind >/dev/null; then
    apt_install valgrind && command -v valgrind >/dev/null ||
        die "valgrind (which counts instructions) is not installed and could not be installed from here." \
            "Install it (Debian, Ubuntu: sudo apt-get install valgrind; Fedora: sudo dnf install valgrind;" \
            "Arch: sudo pacman -S valgrind), then run make again."
fi
