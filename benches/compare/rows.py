"""What is measured, of whom, and which figures are the goals. How is in `measure`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compare import measure
from compare.setup import EVERYBODY, GMQTT, MIQRO, MOSQUITTO, ORIGINAL, PAHO, PYTHON, RUMQTTC

if TYPE_CHECKING:
    from collections.abc import Callable

    from compare.setup import Setup

    Figures = dict[str, float]

OURS = (MIQRO, ORIGINAL)
NATIVE = (MIQRO, ORIGINAL, PAHO, GMQTT, RUMQTTC, MOSQUITTO)


@dataclass(frozen=True)
class Goal:
    """A figure of ours is not to be larger than a number, or than so many times a figure in the same run.

    Attributes:
        at_most: The number.
        of: Whose figure it is multiplied with: of the same line, or with `line` of another one.
        line: The name of that line.
        figure: Which of the line's figures; the first by default.
    """

    at_most: float
    of: str = ""
    line: str = ""
    figure: str = ""

    def __str__(self) -> str:
        # A loop's figures have its interval before their names.
        what = f"{self.figure.partition(' ')[2]} " if self.figure else ""
        if not self.of:
            return f"{what}≤ {self.at_most:g}"
        other = "one handler" if self.line else self.of
        if self.at_most < 1:
            return f"{what}≤ 1/{1 / self.at_most:.0f} of {other}"
        return f"{what}≤ {'' if self.at_most == 1 else f'{self.at_most:g} times '}{other}"


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        name: Of the line, in the results.
        title: What it says.
        unit: Of its figures.
        goals: All are to be reached.
        figures: The names of its figures, as `measure` calls them.
    """

    name: str
    title: str
    unit: str
    goals: tuple[Goal, ...] = ()
    figures: tuple[str, ...] = ("cpu",)


@dataclass(frozen=True)
class Row:
    """What is measured in one go, for one or more lines of the table.

    Attributes:
        name: Of the row, for `--rows`.
        clients: Who takes part, in turn.
        measure: Measures one client once.
        lines: What the table says of it.
        together: Measures all clients at once instead, where each does nothing.
        rounds: At most so many, where one takes long.
    """

    name: str
    clients: tuple[str, ...]
    measure: Callable[[Setup, str], Figures]
    lines: tuple[Line, ...]
    together: Callable[[Setup, tuple[str, ...]], dict[str, Figures]] | None = None
    rounds: int = 100


def _row(
    name: str, title: str, unit: str, clients: tuple[str, ...], work: Any, *goals: Goal, **more: Any
) -> Row:
    """A row of one line."""
    return Row(name, clients, work, (Line(name, title, unit, goals),), **more)


def _publish(qos: int, *goals: Goal, without: tuple[str, ...] = ()) -> Row:
    clients = tuple(who for who in NATIVE if who not in without)
    spec = {"what": "publish", "qos": qos, "count": 20_000 if qos else 100_000}
    return _row(
        f"publish-{qos}",
        f"publish QoS {qos}, from one loop function",
        "µs CPU",
        clients,
        measure.publish(spec),
        *goals,
    )


#: Each figure of a loop, and what it is at most.
_PUNCTUAL = {"missed": 0, "behind ms": 1.0, "p99 ms": 0.3}


def _loops(name: str, title: str, *milliseconds: int) -> Row:
    lines = tuple(
        Line(
            f"{name}-{each}",
            f"loop of {each:,} ms, {title}",
            "missed / behind ms / p99 ms",
            tuple(Goal(most, figure=f"{each} {figure}") for figure, most in _PUNCTUAL.items()),
            tuple(f"{each} {figure}" for figure in _PUNCTUAL),
        )
        for each in milliseconds
    )
    return Row(name, (*OURS, PYTHON), measure.loops([each / 1000 for each in milliseconds]), lines, rounds=3)


_ONE = {"what": "receive", "count": 100_000}
_HUNDRED = {**_ONE, "handlers": 100, "wild": 50, "count": 50_000}
_QUIET = {"what": "echo"}

ROWS = (
    _publish(0, Goal(1.0), Goal(1 / 15, ORIGINAL), Goal(1 / 4, GMQTT), Goal(1.2, MOSQUITTO)),
    _publish(1, Goal(3.0), Goal(1, RUMQTTC), Goal(1, MOSQUITTO)),
    # mosquitto loses messages of a publisher that has more than 20 of QoS 2 under way, as gmqtt has.
    _publish(2, Goal(5.0), Goal(1, RUMQTTC), Goal(1, MOSQUITTO), without=(GMQTT,)),
    _row(
        "receive-0",
        "receive QoS 0, one handler",
        "µs CPU",
        NATIVE,
        measure.receive(_ONE),
        Goal(1.0),
        Goal(1 / 15, ORIGINAL),
        Goal(1, MOSQUITTO),
    ),
    _row(
        "receive-0-100",
        "receive QoS 0, 100 handlers (50 of them `#`)",
        "µs CPU",
        OURS,
        measure.receive(_HUNDRED),
        Goal(1.1, MIQRO, "receive-0"),
    ),
    # 1.3.0 takes milliseconds for each message here: see `make bench-growth`.
    _row(
        "receive-0-10000",
        "receive QoS 0, 10,000 handlers",
        "µs CPU",
        (MIQRO,),
        measure.receive({**_ONE, "handlers": 10_000}),
        Goal(1.5, MIQRO, "receive-0"),
    ),
    # 1.3.0 subscribes with QoS 0 whatever is published.
    _row(
        "receive-1",
        "receive QoS 1, one handler",
        "µs CPU",
        NATIVE,
        measure.receive({**_ONE, "qos": 1, "count": 20_000}),
        Goal(2.5),
    ),
    _row(
        "receive-1-100",
        "receive QoS 1, 100 handlers (50 of them `#`)",
        "µs CPU",
        OURS,
        measure.receive({**_HUNDRED, "qos": 1, "count": 20_000}),
        Goal(1.1, MIQRO, "receive-1"),
    ),
    _row(
        "log-out",
        "publish QoS 0 at the default log level (DEBUG), to a file",
        "µs CPU",
        OURS,
        measure.publish({"what": "publish", "count": 20_000, "level": None}),
        Goal(1 / 3, ORIGINAL),
    ),
    _row(
        "log-in",
        "receive QoS 0 at the default log level (DEBUG), to a file",
        "µs CPU",
        OURS,
        measure.receive({**_ONE, "count": 20_000, "level": None}),
        Goal(1 / 3, ORIGINAL),
    ),
    _row(
        "json",
        "`publish_json`, 20 floats and a nested dict, a client that does nothing (Python: `json.dumps` alone)",
        "µs CPU",
        (*OURS, PYTHON),
        measure.alone({"what": "json", "count": 5_000}, 1e6),
        Goal(2.5),
        Goal(1, PYTHON),
    ),
    _row(
        "unchanged",
        "`only_if_changed=True`, unchanged, 1,000 topics (Python: an empty call)",
        "µs CPU",
        (*OURS, PYTHON),
        measure.alone({"what": "unchanged", "repeats": 20}, 1e6),
        Goal(0.3),
    ),
    _row(
        "unchanged-for",
        "`only_if_changed=timedelta`, unchanged, 1,000 topics (Python: an empty call)",
        "µs CPU",
        (*OURS, PYTHON),
        measure.alone({"what": "unchanged-for", "repeats": 20}, 1e6),
        Goal(0.3),
    ),
    Row(
        "round-trip",
        (MIQRO, ORIGINAL, PAHO, GMQTT, RUMQTTC),
        measure.round_trip(2_000),
        (
            Line("round-trip", "round trip through a handler", "µs CPU", (Goal(15.0),)),
            Line("round-trip-p50", "the same, median", "µs", (Goal(1.2, RUMQTTC),), ("p50",)),
            Line("round-trip-p99", "the same, 99 of 100 within", "µs", (), ("p99",)),
        ),
    ),
    Row(
        "burst",
        (MIQRO, ORIGINAL, PAHO, GMQTT, RUMQTTC),
        measure.burst(100, 5),
        (
            Line(
                "burst",
                "burst of 5 from a handler, the last at the subscriber, median",
                "ms",
                (Goal(0.7),),
                ("p50",),
            ),
        ),
    ),
    Row(
        "import",
        OURS,
        measure.importing(15),
        (
            Line("import", "`import miqro`, over bare Python", "ms", (Goal(10.0),), ("wall",)),
            Line("import-cpu", "the same", "ms CPU"),
        ),
    ),
    _row(
        "memory",
        "memory of an idle service, over a Python with logging, threading and datetime (Python: that one)",
        "MB",
        (*OURS, PYTHON),
        measure.memory,
        Goal(3.0),
    ),
    Row(
        "idle",
        (MIQRO, ORIGINAL, RUMQTTC),
        measure.nothing,
        (
            Line("idle", "idle service", "context switches / s", (Goal(0.1),), ("switches",)),
            Line("idle-cpu", "the same", "ms CPU / min", (Goal(1.0),)),
        ),
        together=measure.idle(30.0),
        rounds=3,
    ),
    _loops("loop-10", "alone", 10),
    _loops("loop-250", "alone", 250),
    _loops("loop-1000", "alone", 1000),
    _loops("loops", "the three in one service", 10, 250, 1000),
    _row(
        "config",
        "`Service()` with a configuration of 305 lines and 20 services",
        "ms CPU",
        OURS,
        measure.alone({"what": "config", "repeats": 15}, 1e3),
        Goal(1.0),
    ),
    _row(
        "save",
        "save a state of 1,000 keys",
        "ms CPU",
        OURS,
        measure.alone({"what": "save", "repeats": 15}, 1e3),
        Goal(1.5),
    ),
    _row(
        "load",
        "load a state of 1,000 keys",
        "ms CPU",
        OURS,
        measure.alone({"what": "load", "repeats": 15}, 1e3),
        Goal(1.5),
    ),
)


def chosen(names: list[str]) -> list[Row]:
    """The rows of these names; of a name that no row has, those that begin with it. All if there are no names.

    Raises:
        ValueError: No row begins so.
    """
    found: set[str] = set()
    for name in names:
        fitting = {row.name for row in ROWS if row.name.startswith(name)}
        if not fitting:
            raise ValueError(f"there is no row {name!r}: there are {', '.join(row.name for row in ROWS)}")
        found |= {name} & fitting or fitting
    return [row for row in ROWS if not names or row.name in found]


assert all(who in EVERYBODY for row in ROWS for who in row.clients)
