"""The results of a run, and the table that is made of them."""

from __future__ import annotations

import json
import os
import platform
import socket
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare.rows import ROWS, Goal, Line, Row
from compare.setup import EVERYBODY, MIQRO

if TYPE_CHECKING:
    from collections.abc import Iterable

BEGIN, END = "<!-- table: written by make bench -->", "<!-- end of the table -->"


def loopback(count: int = 20_000) -> float:
    """Microseconds for a byte from one socket to another one of this process: how dear system calls are here."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with one, other:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        for _ in range(count):
            one.send(b"x")
            other.recv(1)
        return (time.perf_counter() - began) / count * 1e6


def machine() -> dict[str, Any]:
    """What kind of machine it is, without its name."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("model name", "Model")):
            model = line.partition(":")[2].strip()
            break
    return {
        "processors": os.cpu_count(),
        "kind": f"{platform.machine()} {model}".strip(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
        "loopback": loopback(),
    }


@dataclass
class Results:
    """All values of a run.

    Attributes:
        about: The machine, the versions, when.
        values: Of a row, of a client, of a figure: one for each round.
        failures: What could not be measured, and why.
    """

    about: dict[str, Any]
    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, row: str, client: str, figures: dict[str, float]) -> None:
        """Add what a round has shown."""
        found = self.values.setdefault(row, {}).setdefault(client, {})
        for name, value in figures.items():
            found.setdefault(name, []).append(value)

    def of(self, row: str, client: str, figure: str) -> list[float]:
        """The values of all rounds."""
        return self.values.get(row, {}).get(client, {}).get(figure, [])

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(vars(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what was written."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def number(value: float) -> str:
    """Three digits are more than the spread allows."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"


def shown(values: list[float]) -> str:
    """Median, smallest and largest."""
    if not values:
        return ""
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.median(values))} ({number(min(values))} to {number(max(values))})"


def _cell(results: Results, row: Row, line: Line, client: str) -> str:
    if len(line.figures) == 1:
        return shown(results.of(row.name, client, line.figures[0]))
    medians = [results.of(row.name, client, figure) for figure in line.figures]
    return " / ".join(number(statistics.median(values)) for values in medians if values)


def _line_of(name: str) -> tuple[Row, Line]:
    return next((row, line) for row in ROWS for line in row.lines if line.name == name)


def reached(results: Results, row: Row, line: Line, goal: Goal) -> bool | None:
    """Whether ours is as good as the goal; None if a figure is not there."""
    figure = goal.figure or line.figures[0]
    ours = results.of(row.name, MIQRO, figure)
    limit = goal.at_most
    if goal.of:
        other_row, other_line = _line_of(goal.line) if goal.line else (row, line)
        others = results.of(other_row.name, goal.of, goal.figure or other_line.figures[0])
        if not others:
            return None
        limit *= statistics.median(others)
    return statistics.median(ours) <= limit if ours else None


def _verdict(results: Results, row: Row, line: Line) -> str:
    found = [(goal, reached(results, row, line, goal)) for goal in line.goals]
    missed = [str(goal) for goal, yes in found if yes is False]
    if missed:
        return "**no**: " + "; ".join(missed)
    if any(yes is None for _, yes in found):
        # A peer that was not measured was not beaten.
        return "yes, as far as it was measured" if any(yes for _, yes in found) else ""
    return "yes" if found else ""


def _markdown(rows: Iterable[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def table(results: Results) -> str:
    """The table, in Markdown, of the rows that were measured."""
    clients = [who for who in EVERYBODY if any(who in found for found in results.values.values())]
    head = ["what", "unit", *clients, "goal", "reached"]
    lines = [head, ["---"] * len(head)]
    for row in ROWS:
        if row.name in results.values:
            lines += [
                [
                    line.title,
                    line.unit,
                    *(_cell(results, row, line, who) for who in clients),
                    "; ".join(map(str, line.goals)),
                    _verdict(results, row, line),
                ]
                for line in row.lines
            ]
    return _markdown(lines)


def heading(results: Results) -> str:
    """A sentence that says what was measured on what."""
    about = results.about
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['date']}, {about['rounds']} round{'s' * (about['rounds'] > 1)}, {about['processors']} processors "
        f"({about['kind']}), {about['system']}, {about['loopback']:.1f} µs for a byte through a socket of loopback; "
        f"Python {about['Python']}, {versions}. Median (smallest to largest)."
    )


def whole(results: Results) -> str:
    """The table with what is said above and below it."""
    failures = "".join(f"- Not measured: {failure}\n" for failure in results.failures)
    return f"{heading(results)}\n\n{table(results)}\n" + (f"\n{failures}" if failures else "")


def write_into(document: Path, results: Results) -> None:
    """Put the table into the document, between its marks.

    Raises:
        ValueError: It has no such marks.
    """
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no place for the table: the lines {BEGIN!r} and {END!r}")
    document.write_text(f"{before}{BEGIN}\n{whole(results)}{END}{after}", encoding="utf-8")
