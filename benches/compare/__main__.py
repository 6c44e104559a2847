"""`make bench` and `make bench-growth`: measure, print the table, keep the values."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import miqro
from compare import growth, report
from compare.rows import Row, chosen
from compare.setup import CACHE, GMQTT, MIQRO, MOSQUITTO, ORIGINAL, PAHO, ROOT, BenchError, Setup, prepared
from compare.setup import mosquitto_client as found

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENT = ROOT / "docs" / "performance.md"
#: What `--quick` has of the usual number of messages, and of the seconds.
QUICK = 0.02


def say(text: str) -> None:
    """Tell how far it is; the table alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def versions(setup: Setup) -> dict[str, str]:
    """The version of each client and of the broker."""
    asked = {ORIGINAL: "miqro", PAHO: "paho-mqtt", GMQTT: "gmqtt"}
    program = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    known = {MIQRO: miqro.__version__} | {
        who: subprocess.run(
            [setup.pythons[who], "-c", program, package], capture_output=True, text=True, check=True
        ).stdout.strip()
        for who, package in asked.items()
    }
    lock = re.search(r'name = "rumqttc"\nversion = "(.+)"', (ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    broker = subprocess.run(
        [found("mosquitto") or "/usr/sbin/mosquitto", "-h"], capture_output=True, text=True, check=False
    ).stdout.split()
    # The name of the column has the version already.
    del known[ORIGINAL]
    return known | {"rumqttc": lock[1] if lock else "?", MOSQUITTO: broker[2] if len(broker) > 2 else "?"}


def measure(
    setup: Setup, rows: list[Row], rounds: int, results: report.Results, tell: Callable[[str], None]
) -> None:
    """Every client once a round, in turn: what disturbs the machine disturbs all alike."""
    for row in rows:
        for turn in range(1, min(rounds, row.rounds) + 1):
            tell(f"{row.name}: round {turn} of {min(rounds, row.rounds)}")
            if row.together is not None:
                for who, figures in row.together(setup, row.clients).items():
                    results.add(row.name, who, figures)
                continue
            for who in row.clients:
                if who == MOSQUITTO and found("mosquitto_pub") is None:
                    continue
                try:
                    results.add(row.name, who, row.measure(setup, who))
                except BenchError as error:
                    results.failures.append(f"{row.name}, {who}, round {turn}: {error}")
                    tell(f"! {results.failures[-1]}")


def about(setup: Setup, rounds: int) -> dict[str, object]:
    return {
        **report.machine(),
        "versions": versions(setup),
        "rounds": rounds,
        "scale": setup.scale,
        "date": datetime.now(tz=timezone.utc).date().isoformat(),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="of all clients in turn; 5, or 1 with --quick")
    parser.add_argument(
        "--rows", default="", help="names of rows, or how they begin, with commas between them"
    )
    parser.add_argument("--quick", action="store_true", help="a fiftieth of everything: shows that it works")
    parser.add_argument("--growth", action="store_true", help="how cost grows, instead of the table")
    parser.add_argument("--json", type=Path, help="where the values go; by default into .cache/bench/")
    parser.add_argument(
        "--from-json", action="store_true", help="measure nothing: take the values of that file"
    )
    parser.add_argument(
        "--write-docs", action="store_true", help=f"write {DOCUMENT.relative_to(ROOT)} and its plots"
    )
    chosen_options = parser.parse_args()
    try:
        chosen(names(chosen_options.rows))
    except ValueError as error:
        parser.error(str(error))
    return chosen_options


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def main() -> int:
    options = arguments()
    path: Path = options.json or CACHE / ("growth.json" if options.growth else "results.json")
    rounds = options.rounds or (1 if options.quick else 3 if options.growth else 5)
    began = time.monotonic()
    try:
        if options.from_json:
            results = report.Results.read(path)
        else:
            with prepared(QUICK if options.quick else 1.0) as setup:
                results = report.Results(about(setup, rounds))
                try:
                    if options.growth:
                        growth.measure(setup, rounds, results, say)
                    else:
                        measure(setup, chosen(names(options.rows)), rounds, results, say)
                finally:
                    # Also of a run that is interrupted.
                    results.write(path)
            say(f"{time.monotonic() - began:.0f} s; the values are in {path}")
        if options.growth:
            print(growth.table(results))
        else:
            print(report.whole(results))
        if options.write_docs:
            if options.growth:
                growth.plot(path)
            else:
                report.write_into(DOCUMENT, results)
    except (BenchError, OSError, ValueError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
