"""Loops: what they have, and when they are called (contract C50, C51).

Where a test looks at times, it looks at the grid and at counts: a slow machine makes it slow, not red.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from miqro import Loop
from services import DEADLINE, Running, ends_with, loop_of, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker, Observer

    Config = Callable[..., Path]

AGES = timedelta(seconds=100_000)


class S(miqro.Service):
    """Notes what was called, and sleeps for ages if nobody wakes it."""

    SERVICE_NAME = "s"
    MAX_LOOP_INTERVAL = 100_000.0
    MQTT_ONLINE_UPDATE_INTERVAL: float = 100_000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)


@pytest.fixture
def service(config: Path) -> S:
    """A service on a double."""
    return make(S, config)


class Grid:
    """The moments at which a loop was due, as far as one can know: each between two readings of the clock."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.dues: list[tuple[float, float]] = []

    def note(self, loop: Loop) -> None:
        """Note when the loop is due next."""
        before = time.monotonic()
        remaining = loop.get_remaining()
        after = time.monotonic()
        assert remaining is not None
        # A timedelta counts microseconds.
        self.dues.append(
            (before + remaining.total_seconds() - 2e-6, after + remaining.total_seconds() + 2e-6)
        )

    def steps(self) -> list[int]:
        """Return how many intervals lie between each two dues; fails unless all are on one grid."""
        first = self.dues[0]
        numbers = [round((low - first[0]) / self.interval) for low, _ in self.dues]
        low = max(low - number * self.interval for (low, _), number in zip(self.dues, numbers, strict=True))
        high = min(
            high - number * self.interval for (_, high), number in zip(self.dues, numbers, strict=True)
        )
        assert low <= high, f"not on a grid of {self.interval} s: {self.dues}"
        return [after - before for before, after in itertools.pairwise(numbers)]


# ---- C50: the loop ---------------------------------------------------------------------------------------------


def test_a_loop_has_what_it_was_made_of() -> None:
    """C50: by position and by name."""

    def fn(service: object) -> None: ...

    for loop in (Loop(fn, timedelta(seconds=5)), Loop(fn=fn, interval=timedelta(seconds=5), start=True)):
        assert loop.fn is fn
        assert loop.interval == timedelta(seconds=5)
        assert loop.is_running()
        assert str(loop) == "Loop(fn)"


def test_a_new_loop_is_due_at_once_or_not_started() -> None:
    """C50: `start`."""
    started = Loop(lambda: None, AGES)
    remaining = started.get_remaining()
    assert remaining is not None
    assert remaining <= timedelta(0)
    stopped = Loop(lambda: None, AGES, False)
    assert not stopped.is_running()
    assert stopped.get_remaining() is None
    assert stopped.next_call is None
    assert stopped.run_if_needed(None) is None


@pytest.mark.parametrize("method", ["start", "restart"])
@pytest.mark.parametrize("running", [True, False])
def test_start_and_restart_make_it_due_at_once_or_after_one_interval(method: str, running: bool) -> None:
    """C50: `delayed`."""
    loop = Loop(lambda: None, AGES, start=running)
    if running:
        assert loop.run_if_needed(None) is not None
    getattr(loop, method)(delayed=True)
    assert loop.is_running()
    remaining = loop.get_remaining()
    assert remaining is not None
    assert AGES - timedelta(seconds=DEADLINE) < remaining <= AGES
    assert loop.run_if_needed(None) is None
    getattr(loop, method)()
    remaining = loop.get_remaining()
    assert remaining is not None
    assert remaining <= timedelta(0)
    assert loop.run_if_needed(None) is not None
    getattr(loop, method)(True)
    assert loop.run_if_needed(None) is None


def test_a_stopped_loop_is_not_called_until_it_is_started() -> None:
    """C50."""
    calls: list[int] = []
    loop = Loop(lambda: calls.append(1), timedelta(0))
    loop.run_if_needed(None)
    loop.stop()
    assert not loop.is_running()
    assert loop.run_if_needed(None) is None
    assert loop.get_remaining() is None
    assert loop.next_call is None
    loop.stop()
    loop.start()
    loop.run_if_needed(None)
    assert len(calls) == 2


def test_run_if_needed_returns_the_next_call_if_it_ran() -> None:
    """C50: as in 1.x."""
    calls: list[object] = []
    loop = Loop(calls.append, AGES)
    before = datetime.now()
    when = loop.run_if_needed("the service")
    after = datetime.now()
    assert calls == ["the service"]
    assert isinstance(when, datetime)
    assert before + AGES - timedelta(seconds=1) <= when <= after + AGES + timedelta(seconds=1)
    assert loop.run_if_needed("the service") is None
    assert calls == ["the service"]


def test_next_call_is_an_estimate_by_the_wall_clock() -> None:
    """C50."""
    loop = Loop(lambda: None, AGES)
    loop.start(delayed=True)
    assert loop.next_call is not None
    assert abs(loop.next_call - (datetime.now() + AGES)) < timedelta(seconds=DEADLINE)


@pytest.mark.parametrize("zone", [None, timezone.utc, timezone(timedelta(hours=-9, minutes=-30))])
def test_next_call_may_be_assigned(zone: timezone | None) -> None:
    """C50: in the past: due now; in the future: due then; `None`: stopped. With a zone or without."""
    calls: list[int] = []
    loop = Loop(lambda: calls.append(1), AGES)
    loop.next_call = datetime.now(zone) + timedelta(hours=1)
    assert loop.run_if_needed(None) is None
    remaining = loop.get_remaining()
    assert remaining is not None
    assert timedelta(minutes=59) < remaining <= timedelta(hours=1)
    loop.next_call = datetime.now(zone) - timedelta(hours=1)
    assert loop.run_if_needed(None) is not None
    assert calls == [1]
    loop.next_call = None
    assert not loop.is_running()
    loop.next_call = datetime.now(zone)
    assert loop.is_running()


def test_the_interval_may_be_reassigned() -> None:
    """C50: it counts from the last call on."""
    loop = Loop(lambda: None, AGES)
    loop.run_if_needed(None)
    loop.interval = timedelta(hours=1)
    assert loop.interval == timedelta(hours=1)
    remaining = loop.get_remaining()
    assert remaining is not None
    assert timedelta(minutes=59) < remaining <= timedelta(hours=1)
    loop.interval = timedelta(0)
    assert loop.run_if_needed(None) is not None
    loop.interval = AGES
    assert loop.run_if_needed(None) is None


def test_the_interval_of_a_stopped_loop_may_be_reassigned() -> None:
    """C50: and that does not start it."""
    loop = Loop(lambda: None, AGES, start=False)
    loop.interval = timedelta(0)
    assert not loop.is_running()
    loop.start()
    assert loop.run_if_needed(None) is not None


def test_the_function_may_be_reassigned() -> None:
    """C50: with another way of calling it."""
    calls: list[object] = []
    loop = Loop(lambda: calls.append("first"), timedelta(0))
    loop.run_if_needed("service")
    loop.fn = calls.append
    loop.run_if_needed("service")
    assert calls == ["first", "service"]
    with pytest.raises(TypeError):
        loop.fn = lambda one, two: None


@pytest.mark.parametrize("interval", [5, 0.5, "5", None])
def test_an_interval_that_is_no_timedelta_is_a_type_error(interval: Any) -> None:
    """C50: where it is made, and where it is assigned."""
    with pytest.raises(TypeError, match="timedelta"):
        Loop(lambda: None, interval)
    loop = Loop(lambda: None, AGES)
    with pytest.raises(TypeError, match="timedelta"):
        loop.interval = interval
    assert loop.interval == AGES


@pytest.mark.parametrize("interval", [timedelta(seconds=-1), timedelta(microseconds=-1), timedelta.min])
def test_a_negative_interval_is_a_value_error(interval: timedelta) -> None:
    """C51: where it is made, and where it is assigned."""
    with pytest.raises(ValueError, match="negative"):
        Loop(lambda: None, interval)
    loop = Loop(lambda: None, AGES)
    with pytest.raises(ValueError, match="negative"):
        loop.interval = interval
    assert loop.interval == AGES


def test_the_longest_interval_there_is_means_never_again() -> None:
    """C50: services write `timedelta.max` for that."""
    calls: list[int] = []
    loop = Loop(lambda: calls.append(1), timedelta.max)
    loop.run_if_needed(None)
    assert loop.run_if_needed(None) is None
    assert loop.is_running()
    assert calls == [1]


@pytest.mark.parametrize("fn", [None, "text", lambda one, two: None, lambda *, one: None])
def test_a_function_that_cannot_be_called_is_a_type_error(fn: Any) -> None:
    """C50: where it is made."""
    with pytest.raises(TypeError):
        Loop(fn, AGES)


def test_functions_are_called_with_and_without_the_service() -> None:
    """C50: as handlers are."""
    calls: list[object] = []

    class Helper:
        def plain(self) -> None:
            calls.append("plain")

        def taking(self, service: object) -> None:
            calls.append(service)

        def __call__(self, service: object) -> None:
            calls.append(("called", service))

    helper = Helper()
    for fn in (
        helper.plain,
        helper.taking,
        helper,
        functools.partial(calls.append, "partial"),
        functools.partial(lambda name, service: calls.append((name, service)), "named"),
        lambda *args: calls.append(args),
        lambda service=None: calls.append(service),
    ):
        Loop(fn, AGES).run_if_needed("service")
    assert calls == [
        "plain",
        "service",
        ("called", "service"),
        "partial",
        ("named", "service"),
        ("service",),
        "service",
    ]


def test_a_loop_of_anything_can_be_shown() -> None:
    """C50: 1.x failed for a partial, in the midst of the heartbeat."""

    class Helper:
        def __call__(self) -> None: ...

    for fn in (functools.partial(print, "x"), Helper(), print, lambda: None, [].sort):
        assert str(Loop(fn, AGES)).startswith("Loop(")


def test_statistics_are_counted_and_reset() -> None:
    """C50, C52: calls, mean duration, load, and whether it is over 1."""
    loop = Loop(lambda: time.sleep(0.002), timedelta(0))
    assert loop.stat_get() == (0, 0.0, 0.0, False)
    for _ in range(3):
        loop.run_if_needed(None)
    calls, mean, load, overloaded = loop.stat_get()
    assert calls == 3
    assert mean >= 0.002
    assert (load, overloaded) == (0.0, False)
    loop.interval = timedelta(microseconds=1000)
    calls, mean, load, overloaded = loop.stat_get()
    assert load == pytest.approx(mean / 0.001)
    assert load >= 2.0
    assert overloaded is True
    loop.stat_reset()
    assert loop.stat_get() == (0, 0.0, 0.0, False)


# ---- C51: the grid ---------------------------------------------------------------------------------------------


def test_the_first_call_comes_at_once_when_run_starts(config: Path) -> None:
    """C51: and the grid begins there, however long ago the service was made."""

    class Slow(S):
        @miqro.loop(seconds=100_000)
        def tick(self) -> None:
            self.seen.append(time.monotonic())

    service = make(Slow, config)
    threading.Event().wait(0.05)
    started = time.monotonic()
    with Running(service) as running:
        running.wait(lambda: service.seen)
        grid = Grid(AGES.total_seconds())
        grid.note(loop_of(service, "tick"))
    assert len(service.seen) == 1
    low, high = grid.dues[0]
    assert high >= started + AGES.total_seconds()
    assert low <= service.seen[0] + AGES.total_seconds()


def test_call_n_is_due_at_start_plus_n_intervals(config: Path) -> None:
    """C51: drift-free, once per point of the grid, on a machine that is late all the time."""
    grid = Grid(0.005)

    class Ticks(S):
        @miqro.loop(milliseconds=5)
        def tick(self) -> None:
            grid.note(loop_of(self, "tick"))

    service = make(Ticks, config)
    with Running(service) as running:
        running.wait(lambda: len(grid.dues) >= 100)
    assert min(grid.steps()) >= 1


def test_a_late_loop_is_called_once_and_stays_on_its_grid(config: Path) -> None:
    """C51: never in bursts."""
    grid = Grid(0.01)

    class Late(S):
        @miqro.loop(milliseconds=10)
        def tick(self) -> None:
            grid.note(loop_of(self, "tick"))
            if len(grid.dues) % 10 == 0:
                threading.Event().wait(0.035)

    service = make(Late, config)
    with Running(service) as running:
        running.wait(lambda: len(grid.dues) >= 50)
    steps = grid.steps()
    assert min(steps) >= 1
    # Each long call covers the points that passed meanwhile.
    assert all(steps[number] >= 3 for number in range(9, len(steps), 10))


def test_a_loop_that_waits_for_a_slow_one_stays_on_its_grid(config: Path) -> None:
    """C51: whoever makes it late."""
    grid = Grid(0.01)

    class Both(S):
        @miqro.loop(milliseconds=25)
        def slow(self) -> None:
            threading.Event().wait(0.02)

        @miqro.loop(milliseconds=10)
        def quick(self) -> None:
            grid.note(loop_of(self, "quick"))

    service = make(Both, config)
    with Running(service) as running:
        running.wait(lambda: len(grid.dues) >= 40)
    assert min(grid.steps()) >= 1


def test_a_loop_that_is_started_again_has_a_new_grid() -> None:
    """C51, C50: from that moment on."""
    loop = Loop(lambda: None, timedelta(seconds=1000))
    loop.run_if_needed(None)
    before = time.monotonic()
    loop.start()
    loop.run_if_needed(None)
    grid = Grid(1000)
    grid.note(loop)
    assert grid.dues[0][1] >= before + 1000


@pytest.mark.parametrize("result", [None, 0, "", True, [], 0.0])
def test_only_false_stops_a_loop(result: object) -> None:
    """C51."""
    loop = Loop(lambda: result, timedelta(0))
    assert loop.run_if_needed(None) is not None
    assert loop.is_running()


def test_returning_false_stops_the_loop(config: Path) -> None:
    """C51: and it can be started again."""

    class Once(S):
        @miqro.loop(milliseconds=1)
        def once(self) -> bool:
            self.seen.append("once")
            return False

        @miqro.loop(milliseconds=1)
        def tick(self) -> None:
            self.seen.append("tick")

    service = make(Once, config)
    with Running(service) as running:
        running.wait(lambda: service.seen.count("tick") > 10)
        assert service.seen.count("once") == 1
        loop = loop_of(service, "once")
        assert not loop.is_running()
        loop.start()
        running.wait(lambda: service.seen.count("once") == 2)


def test_a_loop_of_interval_zero_is_called_every_step_with_messages_in_between(config: Path) -> None:
    """C51: none is starved, not the loop and not the messages."""

    class Eager(S):
        @miqro.loop()
        def tick(self) -> None:
            if self.seen[-1:] != ["tick"]:
                self.seen.append("tick")

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

    service = make(Eager, config)
    with Running(service) as running:
        running.connected()
        for number in range(100):
            receive(service, "service/s/a", str(number), dispatch=False)
            running.wait(ends_with(service.seen, str(number), "tick"))
    assert [what for what in service.seen if what != "tick"] == [str(number) for number in range(100)]


def test_a_flood_of_messages_does_not_keep_a_loop_from_its_calls(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C51: between messages, when it is due."""

    class Flooded(S):
        SERVICE_NAME = "flooded"

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            threading.Event().wait(0.002)
            self.seen.append(payload)

        @miqro.loop(milliseconds=10)
        def tick(self) -> None:
            self.seen.append("tick")

    service = Flooded(write_config(broker.port))
    with Running(service) as running:
        running.connected()
        running.subscribed()
        observer.publish_many([("service/flooded/a", str(n).encode()) for n in range(500)], qos=0)
        running.wait(lambda: "499" in service.seen)
    between = service.seen[service.seen.index("0") : service.seen.index("499")]
    assert [what for what in service.seen if what != "tick"] == [str(n) for n in range(500)]
    # 500 messages took a second at least, a hundred times the interval.
    assert between.count("tick") >= 10


def test_a_loop_that_blocks_leaves_messages_as_much_time_as_it_takes(config: Path) -> None:
    """C51: a reading loop of interval 0 (a serial line with a timeout) is the usual shape."""

    class Reads(S):
        @miqro.loop()
        def read(self) -> None:
            threading.Event().wait(0.02)
            self.seen.append("read")

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            threading.Event().wait(0.004)
            self.seen.append(payload)

    service = make(Reads, config)
    for number in range(100):
        receive(service, "service/s/a", str(number), dispatch=False)
    with Running(service) as running:
        running.wait(lambda: "99" in service.seen)
    reads = service.seen[service.seen.index("0") : service.seen.index("99")].count("read")
    assert 1 <= reads <= 66, "about five messages for each reading"
