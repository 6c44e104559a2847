"""How cost grows: with topics and handlers, with the size of payloads, with the number of services."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare import report, wire
from compare.client import started
from compare.measure import payload_of, publish, receive
from compare.report import number
from compare.setup import CACHE, MIQRO, ORIGINAL, ROOT, BenchError, Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Step = tuple[str, str, int, Callable[[Setup], dict[str, float]]]

TOPICS = (10, 100, 1_000, 10_000)
SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
SERVICES = (1, 5, 20)
MESSAGES = 50_000
#: Bytes in all payloads of one measurement, at most.
VOLUME = 20_000_000
#: 1.3.0 looks at each handler for each message: so many looks are enough.
LOOKS = 10_000_000

#: What each series is called, what grows, and the unit of its figures.
SERIES = {
    "publish": ("publish QoS 0", "topics", "µs CPU a message"),
    "receive": ("receive QoS 0", "handlers", "µs CPU a message"),
    "publish-size": ("publish QoS 0", "bytes in the payload", "µs CPU a message"),
    "receive-size": ("receive QoS 0", "bytes in the payload", "µs CPU a message"),
    "services-cpu": ("receive QoS 0", "services", "µs CPU a message"),
    "services-memory": ("memory of each", "services", "MB (proportional set size)"),
}


def _only(work: Callable[[Setup, str], dict[str, float]], who: str) -> Callable[[Setup], dict[str, float]]:
    return lambda setup: {"": work(setup, who)["cpu"]}


def _steps() -> Iterator[Step]:
    """Each measurement: its series, who, what has grown to how much, and how it is made."""
    for many in TOPICS:
        for who in (MIQRO, ORIGINAL):
            spec = {"count": MESSAGES, "topics": many, "what": "publish"}
            yield "publish", who, many, _only(publish(spec), who)
        for who in (MIQRO, ORIGINAL):
            count = MESSAGES if who == MIQRO else min(MESSAGES, LOOKS // many)
            spec = {"count": count, "handlers": many, "what": "receive"}
            yield "receive", who, many, _only(receive(spec), who)
    for size in SIZES:
        spec = {"size": size, "count": min(MESSAGES, VOLUME // size)}
        for who in (MIQRO, ORIGINAL):
            yield "publish-size", who, size, _only(publish({**spec, "what": "publish"}), who)
        for who in (MIQRO, ORIGINAL):
            yield "receive-size", who, size, _only(receive({**spec, "what": "receive"}), who)
    for many in SERVICES:
        for who, how in (
            (MIQRO, "processes"),
            (ORIGINAL, "processes"),
            (MIQRO, "threads"),
            (MIQRO, "asyncio"),
        ):
            yield "services", f"{who}, {how}", many, _services(who, how, many)


def _services(who: str, how: str, many: int) -> Callable[[Setup], dict[str, float]]:
    """CPU and memory of so many services with one handler, to which messages go in turn."""

    def work(setup: Setup) -> dict[str, float]:
        each = max(setup.count(MESSAGES) // many, 1)
        names = [f"many{index}" for index in range(many)]
        topics = [f"service/{name}/in/00000" for name in names]
        spec: dict[str, Any] = {"what": "receive", "count": each}
        for topic in topics:
            wire.retain(setup.port, topic, b"subscribed")
        try:
            with contextlib.ExitStack() as running:
                if how == "processes":
                    clients = [
                        running.enter_context(started(setup, who, {**spec, "name": name})) for name in names
                    ]
                    signs = 1
                else:
                    here = {**spec, "names": names, "how": how}
                    clients = [running.enter_context(started(setup, who, here, "many.py"))]
                    signs = many
                for client in clients:
                    for _ in range(signs):
                        client.wait_for("ready")
                time.sleep(setup.seconds(0.5))
                memory = sum(_proportional(client.pid) for client in clients)
                before = sum(client.cpu() for client in clients)
                wire.flood(setup.port, topics, payload_of(spec), each * many, 0)
                for client in clients:
                    for _ in range(signs):
                        client.wait_for("done")
                cpu = sum(client.cpu() for client in clients) - before
        finally:
            for topic in topics:
                wire.retain(setup.port, topic, b"")
        return {"-cpu": cpu / (each * many) * 1e6, "-memory": memory / many}

    return work


def _proportional(pid: int) -> float:
    """Megabytes of memory of a process; of what it shares with others, its share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def measure(setup: Setup, rounds: int, results: report.Results, tell: Callable[[str], None]) -> None:
    """Everything once a round, ours and 1.3.0 in turn."""
    for turn in range(1, rounds + 1):
        for series, who, much, work in _steps():
            tell(f"round {turn} of {rounds}: {series}, {who}, {much:,}")
            try:
                for figure, value in work(setup).items():
                    results.add(series + figure, who, {str(much): value})
            except BenchError as error:
                results.failures.append(f"{series}, {who}, {much:,}, round {turn}: {error}")
                tell(f"! {results.failures[-1]}")


def table(results: report.Results) -> str:
    """A small table for each series, in Markdown."""
    parts = [report.heading(results)]
    for series, clients in results.values.items():
        title, grows, unit = SERIES[series]
        steps = list(dict.fromkeys(much for found in clients.values() for much in found))
        lines = [f"| {title}, {unit} | {' | '.join(f'{int(much):,} {grows}' for much in steps)} |"]
        lines.append("| --- " * (1 + len(steps)) + "|")
        for who, found in clients.items():
            cells = [number(statistics.median(found[much])) if much in found else "" for much in steps]
            lines.append(f"| {who} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    parts += [f"- Not measured: {failure}" for failure in results.failures]
    return "\n\n".join(parts)


def plot(path: Path) -> None:
    """Draw the plots in docs/ from the values in that file."""
    program = Path(__file__).with_name("plots.py")
    subprocess.run([CACHE / "venv/bin/python", program, path, ROOT / "docs"], check=True, timeout=300)
