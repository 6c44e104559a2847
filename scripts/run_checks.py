"""Run the make targets named as arguments, one after the other, and close with what passed and what did not.

A failed target does not keep the others from running, so that one run tells everything. Exit status 1 if any
failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(targets: list[str]) -> int:
    """Run the targets; return the exit status."""
    started = time.monotonic()
    results = [(target, *run(target, f"{number}/{len(targets)}")) for number, target in enumerate(targets, 1)]
    failed = [target for target, passed, _ in results if not passed]
    width = max(len(target) for target in targets)
    print("\n== summary")
    for target, passed, seconds in results:
        print(f"   {target:<{width}}  {'ok    ' if passed else 'FAILED'} {seconds:7.1f} s")
    print(f"   in {time.monotonic() - started:.0f} s")
    if failed:
        print(f"\nFAILED: {', '.join(failed)} (each can be run alone: make {failed[0]})")
        return 1
    print("\nAll checks passed.")
    return 0


def run(target: str, number: str) -> tuple[bool, float]:
    """Run one make target, its output passed through; return whether it passed, and the seconds it took."""
    print(f"\n== {number} make {target}", flush=True)
    started = time.monotonic()
    done = subprocess.run([os.environ.get("MAKE", "make"), target], cwd=ROOT, check=False)
    return done.returncode == 0, time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
