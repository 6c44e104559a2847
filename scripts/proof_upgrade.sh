#!/usr/bin/env bash
# Proves that the wheel (argument 1) may be installed over miqro 1.3.0: in an environment that has 1.3.0, the documented
# examples run; the wheel is installed over it; the same examples run again, and all the services of tests/compat.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

wheel=$1
venv=.cache/upgrade/venv
python=$PWD/$venv/bin/python
tests=.venv/bin/python

installed() { "$python" -m pip list --disable-pip-version-check --format freeze | tr '\n' ' '; }
examples() { MIQRO_EXAMPLES_PYTHON=$python "$tests" -m pytest --quiet tests/test_seed_examples.py; }

[ -f "$wheel" ] || die "There is no wheel $wheel." "Build it: make wheel"
rm -rf "$venv"
scripts/setup.sh "$venv" tests/compat/requirements.txt
say "before: $(installed)"
examples
say "pip install --upgrade $wheel"
"$python" -m pip install --quiet --disable-pip-version-check --upgrade "$wheel"
say "after: $(installed)"
"$python" -m pip check --disable-pip-version-check
examples
say "the services of tests/compat, on 1.3.0 and on the environment that was upgraded"
MIQRO_COMPAT_PYTHON=$python "$tests" -m pytest --quiet tests/compat
say "installed over 1.3.0, and everything goes on working"
