"""Count the instructions of the engine's hot paths, and compare them with benches/instructions.json.

Callgrind counts what ``benches/core/instructions.rs`` does, row by row; start-up and preparation do not count. Counts
hardly depend on the machine or its load (0.3 %, the seeds of hash tables), but on the compiler, the processor's
architecture and the C library (malloc, memcpy): the file says with which it was recorded, and is compared with the
same only.

Usage: ``python scripts/instructions.py [--strict | --accept]``. Exit status 1: a row needs over 5 % more instructions
than recorded, a row is missing, or, with ``--strict``, nothing can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benches" / "instructions.json"
#: By so much, of what was recorded, a row may change without a word.
TOLERANCE = 0.05
ACCEPT = "make instructions-accept"
#: The function whose calls are counted, one for each row.
COUNTED = "instructions::counted"
#: The profile of `make build`, whose dependencies are there already; the engine itself as in a release.
BUILD = {"codegen-units": "1", "opt-level": "3", "overflow-checks": "false"}


class CountError(Exception):
    """Nothing could be counted; the text says why."""


def compare(recorded: dict[str, float], counted: dict[str, float]) -> tuple[list[str], list[str]]:
    """Compare two tables of instructions per message.

    Args:
        recorded: Rows by name, as the file has them.
        counted: Rows by name, as they are now.

    Returns:
        Sentences that make the check fail, and sentences that do not.
    """
    failures, notes = [], []
    for name in recorded.keys() | counted.keys():
        if name not in counted:
            failures.append(
                f"{name} is recorded and no longer counted; if it was taken out on purpose: {ACCEPT}"
            )
        elif name not in recorded:
            failures.append(f"{name} is new ({counted[name]:.1f} instructions); record it: {ACCEPT}")
        else:
            before, now = recorded[name], counted[name]
            change = f"{name}: {before:.1f} instructions before, {now:.1f} now ({now / before - 1:+.1%})"
            if now > before * (1 + TOLERANCE):
                failures.append(f"{change}; if it is worth that: {ACCEPT}, and say why in the commit")
            elif now < before * (1 - TOLERANCE):
                notes.append(f"{change}; keep the gain: {ACCEPT}")
    return sorted(failures), sorted(notes)


def toolchain() -> dict[str, str]:
    """Return what counts depend on, besides the code."""
    version = subprocess.run(
        ["rustc", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    return {"rustc": version, "arch": platform.machine(), "libc": " ".join(platform.libc_ver())}


def build() -> Path:
    """Build the program that does the rows; return where it is."""
    command = ["cargo", "build", "--locked", "--profile", "ci", "--features", "instructions"]
    command += ["--bin", "instructions", "--message-format", "json-render-diagnostics"]
    for key, value in BUILD.items():
        command += ["--config", f"profile.ci.package.miqro.{key}={value}"]
    # What is compiled in pieces depends on what was compiled before.
    environment = {**os.environ, "CARGO_INCREMENTAL": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise CountError("the program to be counted cannot be built; see above")
    built = [json.loads(line).get("executable") for line in done.stdout.splitlines()]
    return Path(next(path for path in built if path))


def count(program: Path) -> dict[str, float]:
    """Run the program under callgrind; return the instructions per message of each row."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--toggle-collect={COUNTED}"]
        command += [f"--dump-after={COUNTED}", f"--callgrind-out-file={out}", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CountError(f"{program} has failed under valgrind:\n{done.stderr}")
        rows = [line.split() for line in done.stdout.splitlines()]
        return {
            name: round(total(out.with_name(f"{out.name}.{number}")) / int(messages), 1)
            for number, (name, messages) in enumerate(rows, 1)
        }


def total(part: Path) -> int:
    """Return the instructions in a part of callgrind's output, which is what one row did."""
    try:
        lines = part.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise CountError(f"callgrind has not seen a call of {COUNTED} for each row") from None
    found = next((line for line in lines if line.startswith("summary: ")), "summary: 0")
    instructions = int(found.split()[1])
    if not instructions:
        raise CountError(f"callgrind has seen no instruction in {COUNTED}")
    return instructions


def check(strict: bool) -> int:
    """Count and compare; return the exit status."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    here = toolchain()
    if record["toolchain"] != here:
        print(
            f"{'error' if strict else 'note'}: the instructions cannot be compared: they were recorded with "
            f"{words(record['toolchain'])}, and this is {words(here)}; to record them anew: {ACCEPT}",
            file=sys.stderr,
        )
        return int(strict)
    counted = count(build())
    failures, notes = compare(record["rows"], counted)
    for sentence in notes:
        print(f"note: {sentence}", file=sys.stderr)
    for sentence in failures:
        print(f"error: {sentence}", file=sys.stderr)
    if not failures:
        print(f"{len(counted)} rows need no more instructions than recorded (within {TOLERANCE:.0%})")
    return int(bool(failures))


def accept() -> int:
    """Count, and record; return the exit status."""
    record = {"toolchain": toolchain(), "rows": count(build())}
    before = json.loads(RECORD.read_text(encoding="utf-8"))["rows"] if RECORD.exists() else {}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for name, now in record["rows"].items():
        was = before.get(name)
        print(f"{name:<28} {now:9.1f}" + (f"  {now / was - 1:+.1%}" if was else "  new"))
    return 0


def words(kind: dict[str, str]) -> str:
    """Return a toolchain in words."""
    return f"rustc {kind['rustc']} on {kind['arch']} with {kind['libc']}"


def main() -> int:
    """Do what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(description="Count the instructions of the engine's hot paths.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--accept", action="store_true", help="record the counts as they are now")
    what.add_argument("--strict", action="store_true", help="fail where nothing can be compared")
    arguments = parser.parse_args()
    try:
        return accept() if arguments.accept else check(arguments.strict)
    except CountError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
