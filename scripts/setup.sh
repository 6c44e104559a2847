#!/usr/bin/env bash
# Makes the virtual environment DIR (argument 1) and installs what building and testing needs, pinned by hash; or what
# another list (argument 2) says.
# The interpreter is $PYTHON if set, else the first Python >= 3.10 found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

venv=$1
list=${2:-requirements-dev.txt}
new_enough='import sys; sys.exit(sys.version_info < (3, 10))'

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do
        if "$name" -c "$new_enough" 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

python=$(find_python) || {
    [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is not a Python >= 3.10."
    apt_install python3 python3-venv && python=$(find_python) || die "no Python >= 3.10 found." \
        "Install one (Debian 12 or later, Ubuntu 22.04 or later: apt-get install python3 python3-venv)" \
        "or name one: make PYTHON=/path/to/python3.12 ..."
}

# An environment whose interpreter is gone or was another version is made anew.
if ! "$venv/bin/python" -c "$new_enough" 2>/dev/null || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making the virtual environment $venv with $("$python" --version)"
    rm -rf "$venv"
    if ! "$python" -m venv "$venv" 2>/dev/null; then
        # Debian ships venv apart from Python.
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        apt_install "python$version-venv" || apt_install python3-venv || true
        rm -rf "$venv"
        "$python" -m venv "$venv" || die "$python cannot make virtual environments." \
            "Install its venv module (Debian, Ubuntu: apt-get install python$version-venv), then run make again."
    fi
fi

say "installing what $list pins"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --use-pep517 --require-hashes -r "$list"
