"""Count the instructions of a publish as a service sees it: Python, the bindings and the engine.

``make instructions-python``. Each row runs under callgrind in a process of its own, once with work and once without;
the difference is what the work needs, to about 3 %. The counts depend on the interpreter and on how the extension was
built, so none are recorded: compare before and after a change, with one interpreter and one profile. There is no row
for receiving: messages come through the network's thread, and how many come at a time differs from run to run.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import miqro

if TYPE_CHECKING:
    from collections.abc import Callable

#: Topics of a turn, and turns.
TOPICS, TURNS, WARM = 100, 20, 5
DATA = {**{f"value_{n}": n * 7.3 / 3 for n in range(20)}, "state": {"on": True, "mode": "auto"}}


class Thermometer(miqro.Service):
    """Publishes."""

    SERVICE_NAME = "thermometer"


class DoNothingClient:
    """Takes everything, and does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def publish(self, topic: str, payload: object, qos: int = 0, retain: bool = False) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def turn(service: Any, row: str) -> Callable[[list[str]], None]:
    """Return what publishes once on each topic."""

    def publish(topics: list[str]) -> None:
        for topic in topics:
            service.publish(topic, "21.53 degrees")

    def publish_json(topics: list[str]) -> None:
        for topic in topics:
            service.publish_json(topic, DATA)

    def unchanged(topics: list[str]) -> None:
        for topic in topics:
            service.publish(topic, "21.53 degrees", only_if_changed=True)

    def unchanged_for(topics: list[str], age: timedelta = timedelta(hours=1)) -> None:
        for topic in topics:
            service.publish(topic, "21.53 degrees", only_if_changed=age)

    what = {"json": publish_json, "unchanged": unchanged, "unchanged for": unchanged_for}
    return what.get(row, publish)


#: Name of the row: what it does, and whether the client is one that does nothing.
ROWS = {
    "publish, queued by the engine": ("text", False),
    "publish": ("text", True),
    "publish_json, 20 floats and a mapping": ("json", True),
    "publish, only_if_changed=True, unchanged": ("unchanged", True),
    "publish, only_if_changed=timedelta, unchanged": ("unchanged for", True),
}


def work(row: str, turns: int) -> None:
    """Do the work of a row; without turns, only what comes before."""
    what, does_nothing = ROWS[row]
    client = {"mqtt_client_cls": DoNothingClient} if does_nothing else {}
    with tempfile.NamedTemporaryFile(suffix=".yml") as config:
        config.write(b"log_level: WARNING\nservices: {thermometer: {}}\n")
        config.flush()
        service = Thermometer(config.name, **client)
    # What is collected when depends on all that was made before.
    gc.disable()
    do = turn(service, what)
    topics = [f"rooms/{n}/temperature" for n in range(TOPICS)]
    for _ in range(WARM + turns):
        do(topics)


def count(row: str, turns: int) -> int:
    """Return the instructions of a process that does a row."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            sys.executable,
            "-I",
            __file__,
        ]
        subprocess.run(
            [*command, "--row", row, "--turns", str(turns)],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            check=True,
        )
        summary = next(
            line for line in out.read_text(encoding="utf-8").splitlines() if line.startswith("summary: ")
        )
        return int(summary.split()[1])


def main() -> None:
    """Count every row, or do the work of one."""
    parser = argparse.ArgumentParser(description="Count the instructions of a publish as a service sees it.")
    parser.add_argument("--row", choices=ROWS, help="do this one's work")
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    if arguments.row:
        work(arguments.row, arguments.turns)
        return
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"instructions for a message, Python {version}")
    for row in ROWS:
        print(f"{row:<48} {(count(row, TURNS) - count(row, 0)) / (TURNS * TOPICS):9.0f}")


if __name__ == "__main__":
    main()
