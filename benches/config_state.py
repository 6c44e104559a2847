"""Reading a configuration, loading and saving a state: ours beside PyYAML, in one run.

Usage: ``python benches/config_state.py [ROUNDS]``. Prints the median and the spread of each, and the ratio.
PyYAML is used as 1.x uses it (its pure Python loader and dumper), and with libyaml where it has that.
"""

from __future__ import annotations

import gc
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from miqro import _native
from miqro._config import Config
from miqro._state import State

if TYPE_CHECKING:
    from collections.abc import Callable


class Owner:
    """What a state needs of its service."""

    SERVICE_NAME = "bench"
    log = logging.getLogger("bench")

    def note_failure(self, text: str) -> None:
        raise RuntimeError(text)


def configuration() -> str:
    """Return a configuration of 300 lines, as people write them."""
    lines = [
        "broker:",
        "  host: broker.example.com",
        "  port: 8883",
        "auth: {username: u, password: 'p'}",
        "services:",
    ]
    number = 0
    while len(lines) < 293:
        number += 1
        lines += [
            f"  service_{number}:  # of the {number}th room",
            f"    data_topic: home/room{number}/",
            "    interval: 30.5",
            "    enabled: yes",
            "    sensors:",
            "      - {name: 'temperature', unit: °C, offset: -0.5}",
            "      - name: humidity",
            '        unit: "%"',
            "    at: 07:30",
        ]
    lines += [f"own_{i}: {i}" for i in range(300 - len(lines))]
    return "\n".join(lines) + "\n"


def data() -> dict[str, Any]:
    """Return a state of 1,000 nested keys."""
    return {
        f"room{room}": {
            f"device{device}": {
                "on": device % 2 == 0,
                "level": device * 0.75,
                "name": f"lamp {room} {device}",
                "seen": 1_700_000_000 + device,
                "history": [1, 2.5, "x"],
            }
            for device in range(8)
        }
        for room in range(20)
    }


def keys_of(value: Any) -> int:
    """Count the keys, at all depths."""
    return sum(1 + keys_of(inner) for inner in value.values()) if isinstance(value, dict) else 0


def measure(work: Callable[[], object], rounds: int) -> list[float]:
    """Return how long each round takes, in milliseconds."""
    work()
    times = []
    for _ in range(rounds):
        gc.collect()
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return times


def main(rounds: int) -> int:
    if _native.DEBUG_BUILD:
        print("This is a debug build, whose figures say nothing: run `make PROFILE=release build` first.")
        return 1
    logging.disable()
    folder = Path(tempfile.mkdtemp())
    State.DATA_ROOT = folder
    text = configuration()
    encoded = text.encode()
    state = State(Owner())
    for key, value in data().items():
        state[key] = value
    plain = dict(state)
    saved = yaml.dump(plain)
    state.save()
    assert (folder / "bench.yaml").read_text() == saved
    assert yaml.load(text, yaml.FullLoader) == Config(folder / "miqro.yml", encoded).config  # noqa: S506
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, PyYAML {yaml.__version__}; "
        f"{text.count(chr(10))} lines of configuration, {keys_of(plain)} keys of state ({len(saved)} bytes), "
        f"{rounds} rounds"
    )
    cases: list[tuple[str, Callable[[], object], list[tuple[str, Callable[[], object]]]]] = [
        (
            "configuration: read and checked",
            lambda: Config(folder / "miqro.yml", encoded),
            [("PyYAML", lambda: yaml.load(text, yaml.FullLoader))],  # noqa: S506
        ),
        (
            "state: load, with the file",
            lambda: State(Owner()),
            [("PyYAML", lambda: yaml.load((folder / "bench.yaml").read_text(), yaml.FullLoader))],  # noqa: S506
        ),
        ("state: text to save", lambda: _native.yaml_dump(plain), [("PyYAML", lambda: yaml.dump(plain))]),
        (
            "state: save, on the disk (fsync)",
            state.save,
            [("PyYAML, no fsync", lambda: (folder / "other.yaml").write_text(yaml.dump(plain)))],
        ),
    ]
    if yaml.__with_libyaml__:
        cases[0][2].append(("PyYAML with libyaml", lambda: yaml.load(text, yaml.CFullLoader)))  # noqa: S506
        cases[1][2].append(("PyYAML with libyaml", lambda: yaml.load(saved, yaml.CFullLoader)))  # noqa: S506
        cases[2][2].append(("PyYAML with libyaml", lambda: yaml.dump(plain, Dumper=yaml.CDumper)))
    for name, ours, others in cases:
        times = measure(ours, rounds)
        median = statistics.median(times)
        print(f"{name}\n  {'ours':<22}{shown(times)}")
        for other, work in others:
            theirs = measure(work, max(5, rounds // 5))
            print(f"  {other:<22}{shown(theirs)}   {statistics.median(theirs) / median:6.1f} times as long")
    return 0


def shown(times: list[float]) -> str:
    """Return median and spread."""
    return f"{statistics.median(times):8.2f} ms ({min(times):.2f} to {max(times):.2f})"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
